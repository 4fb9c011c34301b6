// Mailbox names of the mesh and of one server, translated both ways.
//
// imap_replica.cc uses it for every name that crosses. In the mesh: UTF-8, "/" between levels, "INBOX" in capitals.
// Here: modified UTF-7, the server's delimiter, its personal namespace's prefix. Between the two lies the own name: in
// the mesh's spelling, where the topology's namespace_prefix and name_map and the engine's aliases have not been
// applied yet. Invariant: ToMesh(ToServer(name)) == name, and the other way round for every name that ToMesh accepts.
// Values; any thread.
#ifndef IMAPMESH_ENGINE_REPLICA_MAILBOX_NAMES_H_
#define IMAPMESH_ENGINE_REPLICA_MAILBOX_NAMES_H_

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace imapmesh {

// A mailbox, with its children, that has another name here. Both in the mesh's spelling; neither lies within another's.
struct NameMapping {
  std::string mesh;
  std::string here;
};

class MailboxNames {
 public:
  MailboxNames() = default;
  // `delimiter`: one character, or "" for a flat server. `foreign_prefixes`: namespaces that are not this account's.
  // `further_prefixes`: personal namespaces beside the one of `prefix`; their names stay whole.
  // `forbidden`: characters that this server has in no name, beside the delimiter; "=" cannot be one.
  MailboxNames(std::string delimiter, std::string prefix, std::vector<std::string> foreign_prefixes,
               std::string_view forbidden = "", std::vector<std::string> further_prefixes = {});

  // What the topology declares: the mesh's mailboxes, INBOX included, live under `namespace_prefix` ("" for none), and
  // some have other names here. Names of foreign namespaces take part only where one of the two names them.
  void Declare(std::string namespace_prefix, std::vector<NameMapping> mappings);
  // What the engine found out: single mailboxes whose local name (LocalName's) is another than the mesh's. Replaces the
  // aliases given before.
  void SetAliases(std::map<std::string, std::string> mesh_to_local);

  const std::string& delimiter() const { return delimiter_; }

  // nullopt: no mailbox of the mesh.
  std::optional<std::string> ToMesh(std::string_view raw) const;
  // As ToMesh without aliases: what the mailbox would be called in the mesh if this were its only server.
  std::optional<std::string> LocalName(std::string_view raw) const;
  // What the mesh calls a mailbox of this local name: ToMesh is LocalName, then this.
  std::string LocalToMesh(std::string_view local) const;
  // Whether the topology maps this local name.
  bool IsMapped(std::string_view local) const;
  // The inverse of LocalName.
  std::string LocalToServer(std::string_view local) const { return OwnToServer(Unplace(std::string(local))); }
  // A character that this server cannot have within a level is written as "=XX" (its byte in hexadecimal).
  std::string ToServer(std::string_view mailbox) const;

 private:
  std::optional<std::string> OwnName(std::string_view raw) const;
  std::string OwnToServer(std::string_view own) const;
  bool IsForeign(std::string_view raw) const;
  bool IsWhole(std::string_view raw) const;
  std::optional<std::string> Place(std::string own, bool foreign) const;
  std::string Unplace(std::string name) const;

  std::string delimiter_ = "/";
  std::string prefix_;  // raw, with the delimiter at its end
  std::vector<std::string> foreign_prefixes_, further_prefixes_;
  std::string escaped_ = "/";     // the delimiter and what is forbidden besides
  std::string namespace_prefix_;  // with "/" at its end, unless empty
  std::vector<NameMapping> mappings_;
  std::map<std::string, std::string, std::less<>> mesh_to_local_;
  std::map<std::string, std::string, std::less<>> local_to_mesh_;
};

// Whether `name` is `parent` or lies within it.
bool IsWithin(std::string_view name, std::string_view parent);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_REPLICA_MAILBOX_NAMES_H_
