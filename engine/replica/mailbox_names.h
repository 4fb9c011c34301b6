// Mailbox names of the mesh and of one server, translated both ways.
//
// imap_replica.cc uses it for every name that crosses. In the mesh: UTF-8, "/" between levels, "INBOX" in capitals, no
// namespace prefix. Here: modified UTF-7, the server's delimiter and its personal namespace's prefix. Invariant:
// ToMesh(ToServer(name)) == name, and the other way round for every name that ToMesh accepts. Values; any thread.
#ifndef IMAPMESH_ENGINE_REPLICA_MAILBOX_NAMES_H_
#define IMAPMESH_ENGINE_REPLICA_MAILBOX_NAMES_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace imapmesh {

class MailboxNames {
 public:
  MailboxNames() = default;
  // `delimiter`: one character, or "" for a flat server. `foreign_prefixes`: namespaces that are not this account's.
  MailboxNames(std::string delimiter, std::string prefix, std::vector<std::string> foreign_prefixes);

  // nullopt: no mailbox of this account's own.
  std::optional<std::string> ToMesh(std::string_view raw) const;
  // A character that this server cannot have within a level is written as "=XX" (its byte in hexadecimal).
  std::string ToServer(std::string_view mailbox) const;

 private:
  std::string delimiter_ = "/";
  std::string prefix_;  // raw, with the delimiter at its end
  std::vector<std::string> foreign_prefixes_;
};

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_REPLICA_MAILBOX_NAMES_H_
