/**
 * The part of etcd's protocol (version 3) that Skein speaks, in protobuf's own language: the numbers are etcd's
 * (api/etcdserverpb/rpc.proto, api/mvccpb/kv.proto), fields that nobody here reads are left out and skipped when they come.
 *
 * It is text in a source file because only compiled sources ship; `codec.ts` builds the codecs from it when a store opens.
 */
export const etcdProto = `
syntax = "proto3";

message ResponseHeader { uint64 cluster_id = 1; uint64 member_id = 2; int64 revision = 3; uint64 raft_term = 4; }

message KeyValue {
  bytes key = 1; int64 create_revision = 2; int64 mod_revision = 3; int64 version = 4; bytes value = 5; int64 lease = 6;
}
message Event { int32 type = 1; KeyValue kv = 2; }

message RangeRequest {
  bytes key = 1; bytes range_end = 2; int64 limit = 3; int64 revision = 4; int32 sort_order = 5; int32 sort_target = 6;
  bool serializable = 7; bool keys_only = 8; bool count_only = 9;
}
message RangeResponse { ResponseHeader header = 1; repeated KeyValue kvs = 2; bool more = 3; int64 count = 4; }
message PutRequest { bytes key = 1; bytes value = 2; int64 lease = 3; }
message PutResponse { ResponseHeader header = 1; }
message DeleteRangeRequest { bytes key = 1; bytes range_end = 2; }
message DeleteRangeResponse { ResponseHeader header = 1; int64 deleted = 2; }

message Compare {
  int32 result = 1; int32 target = 2; bytes key = 3;
  int64 version = 4; int64 create_revision = 5; int64 mod_revision = 6; bytes value = 7; int64 lease = 8;
}
message RequestOp {
  RangeRequest request_range = 1; PutRequest request_put = 2; DeleteRangeRequest request_delete_range = 3;
  TxnRequest request_txn = 4;
}
message ResponseOp {
  RangeResponse response_range = 1; PutResponse response_put = 2; DeleteRangeResponse response_delete_range = 3;
  TxnResponse response_txn = 4;
}
message TxnRequest { repeated Compare compare = 1; repeated RequestOp success = 2; repeated RequestOp failure = 3; }
message TxnResponse { ResponseHeader header = 1; bool succeeded = 2; repeated ResponseOp responses = 3; }
message CompactionRequest { int64 revision = 1; bool physical = 2; }
message CompactionResponse { ResponseHeader header = 1; }

message WatchRequest { WatchCreateRequest create_request = 1; WatchCancelRequest cancel_request = 2; }
message WatchCreateRequest {
  bytes key = 1; bytes range_end = 2; int64 start_revision = 3; bool progress_notify = 4; bool fragment = 8;
}
message WatchCancelRequest { int64 watch_id = 1; }
message WatchResponse {
  ResponseHeader header = 1; int64 watch_id = 2; bool created = 3; bool canceled = 4; int64 compact_revision = 5;
  string cancel_reason = 6; bool fragment = 7; repeated Event events = 11;
}

message LeaseGrantRequest { int64 ttl = 1; int64 id = 2; }
message LeaseGrantResponse { ResponseHeader header = 1; int64 id = 2; int64 ttl = 3; string error = 4; }
message LeaseRevokeRequest { int64 id = 1; }
message LeaseRevokeResponse { ResponseHeader header = 1; }
message LeaseKeepAliveRequest { int64 id = 1; }
message LeaseKeepAliveResponse { ResponseHeader header = 1; int64 id = 2; int64 ttl = 3; }

message AuthenticateRequest { string name = 1; string password = 2; }
message AuthenticateResponse { ResponseHeader header = 1; string token = 2; }

message Member {
  uint64 id = 1; string name = 2; repeated string peer_urls = 3; repeated string client_urls = 4; bool is_learner = 5;
}
message MemberAddRequest { repeated string peer_urls = 1; bool is_learner = 2; }
message MemberAddResponse { ResponseHeader header = 1; Member member = 2; repeated Member members = 3; }
message MemberRemoveRequest { uint64 id = 1; }
message MemberUpdateRequest { uint64 id = 1; repeated string peer_urls = 2; }
message MemberPromoteRequest { uint64 id = 1; }
message MemberListRequest {}
/** The answer of list, remove, update and promote alike: their members are field 2. */
message MembersResponse { ResponseHeader header = 1; repeated Member members = 2; }

message StatusRequest {}
message StatusResponse {
  ResponseHeader header = 1; string version = 2; int64 db_size = 3; uint64 leader = 4; uint64 raft_index = 5;
  uint64 raft_term = 6; uint64 raft_applied_index = 7; repeated string errors = 8; int64 db_size_in_use = 9;
  bool is_learner = 10;
}
message AlarmRequest { int32 action = 1; uint64 member_id = 2; int32 alarm = 3; }
message AlarmMember { uint64 member_id = 1; int32 alarm = 2; }
message AlarmResponse { ResponseHeader header = 1; repeated AlarmMember alarms = 2; }
message MoveLeaderRequest { uint64 target_id = 1; }
message MoveLeaderResponse { ResponseHeader header = 1; }
message SnapshotRequest {}
message SnapshotResponse { ResponseHeader header = 1; uint64 remaining_bytes = 2; bytes blob = 3; }
`
