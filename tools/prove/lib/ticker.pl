# A process agent of the proofs: one line a tick, until it is ended
use strict;
use warnings;
use Time::HiRes qw(clock_gettime sleep CLOCK_MONOTONIC);
my ($file, $every_ms) = @ARGV;
open(my $out, '>>', $file) or die "$file: $!";
while (1) {
    syswrite($out, sprintf("%s %d %s %.1f\n", $ENV{SKEIN_AGENT}, $ENV{SKEIN_AGENT_EPOCH}, $ENV{SKEIN_NODE_ID}, clock_gettime(CLOCK_MONOTONIC) * 1000));
    sleep($every_ms / 1000);
}
