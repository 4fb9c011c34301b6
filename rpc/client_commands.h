// The client's commands: each calls one RPC (or none), prints the answer for people or as JSON, and returns the exit
// code of CONTRACT.md section 2.
//
// rpc/imapmesh.cc parses the command line and calls them. Blocking; one thread.
#ifndef IMAPMESH_RPC_CLIENT_COMMANDS_H_
#define IMAPMESH_RPC_CLIENT_COMMANDS_H_

#include <memory>
#include <ostream>
#include <string>

#include "base/status.h"
#include "rpc/control.grpc.pb.h"
#include "rpc/exit_codes.h"

namespace imapmesh {

struct ClientOptions {
  std::string address;  // "" : the only daemon of this user
  bool json = false;
  std::string tls_ca;  // PEM files; all three or none
  std::string tls_cert;
  std::string tls_key;
  std::string tls_dir;  // instead of the three: a client's folder that `imapmeshd certs` made
};

class Client {
 public:
  // kUnavailable when nobody answers there, kInvalidArgument for a bad address or bad files: the text says what to do.
  static absl::StatusOr<std::unique_ptr<Client>> Connect(const ClientOptions& options, std::ostream& out,
                                                         std::ostream& error);

  int Status(bool watch);
  int Topology();
  int Sync(const v1::SyncRequest& scope);
  int Plan(bool explain);
  int Events();
  int Conflicts(bool open_only);
  int ShowConflict(int64_t id);
  int ResolveConflict(const v1::ResolveConflictRequest& request);
  int Trace(const std::string& message_id);
  int Pause(const std::string& edge);
  int Resume(const std::string& edge);
  int Reload();

 private:
  Client(std::shared_ptr<grpc::Channel> channel, bool json, std::ostream& out, std::ostream& error);

  void PrintJson(const google::protobuf::Message& message);
  // Says what went wrong; the exit code for it.
  int Fail(const std::string& tried, const grpc::Status& status);

  std::unique_ptr<v1::Coordinator::Stub> stub_;
  const bool json_;
  std::ostream& out_;
  std::ostream& error_;
};

}  // namespace imapmesh

#endif  // IMAPMESH_RPC_CLIENT_COMMANDS_H_
