# Latency for a kernel without netem: a reader of NFQUEUE 7 that lets each packet go `ms` later, give or take `jitter`, in order.
#
#     perl delay.pl MS JITTER_MS
#
# In Perl because Node cannot open a netlink socket, and perl-base is on every Debian. It prints a line when it reads the queue.
# Messages: linux/netfilter/nfnetlink_queue.h.
use strict;
use warnings;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

my ($ms, $jitter) = @ARGV;
my ($AF_NETLINK, $SOCK_RAW, $NETLINK_NETFILTER) = (16, 3, 12);
my ($SUBSYSTEM, $PACKET, $VERDICT, $CONFIG) = (3 << 8, 0, 1, 2);
my $queue = 7;

socket(my $netlink, $AF_NETLINK, $SOCK_RAW, $NETLINK_NETFILTER) or die "socket: $!";
bind($netlink, pack('S S L L', $AF_NETLINK, 0, 0, 0)) or die "bind: $!";

sub attribute { my ($type, $value) = @_; my $text = pack('S S', 4 + length $value, $type) . $value; return $text . "\0" x (-length($text) % 4) }

sub tell_kernel {
  my ($type, @attributes) = @_;
  my $body = pack('C C n', 0, 0, $queue) . join('', @attributes);
  defined send($netlink, pack('L S S L L', 16 + length $body, $SUBSYSTEM | $type, 1, 0, 0) . $body, 0) or warn "send: $!";
}

tell_kernel($CONFIG, attribute(1, pack('C C n', 1, 0, 0)));   # bind this queue
tell_kernel($CONFIG, attribute(2, pack('N C', 0, 1)));        # no payload, only the packet's number
tell_kernel($CONFIG, attribute(3, pack('N', 20000)));         # packets held at most; the rest is lost
$| = 1;
print "ready\n";

my @held;
my $last = 0;
while (1) {
  my $now = clock_gettime(CLOCK_MONOTONIC);
  while (@held && $held[0][0] <= $now) {
    my $id = (shift @held)->[1];
    tell_kernel($VERDICT, attribute(2, pack('N N', 1, $id)));  # accept
  }
  my $readable = '';
  vec($readable, fileno $netlink, 1) = 1;
  next unless select($readable, undef, undef, @held ? $held[0][0] - $now : undef) > 0;
  defined recv($netlink, my $data, 65536, 0) or next;
  my $arrived = clock_gettime(CLOCK_MONOTONIC);
  while (length $data >= 20) {
    my ($length, $type) = unpack('L S', $data);
    last if $length < 20;
    if ($type == ($SUBSYSTEM | $PACKET)) {
      for (my $at = 20; $at + 4 <= $length;) {
        my ($size, $kind) = unpack('S S', substr $data, $at, 4);
        last if $size < 4;
        if (($kind & 0x3fff) == 1) {
          my $due = $arrived + ($ms + (2 * rand() - 1) * $jitter) / 1000;
          $last = $due = $due < $last ? $last : $due;
          push @held, [$due, unpack('N', substr $data, $at + 4, 4)];
        }
        $at += ($size + 3) & ~3;
      }
    }
    substr($data, 0, ($length + 3) & ~3) = '';
  }
}
