// Flags as one server knows them: what keywords are called there, and which flags it keeps in a mailbox.
//
// imap_replica.cc translates every flag that crosses, and asks before it stores. Invariant: a keyword of the mesh that
// can be stored here comes back as itself. Values; any thread.
#ifndef IMAPMESH_ENGINE_REPLICA_FLAG_NAMES_H_
#define IMAPMESH_ENGINE_REPLICA_FLAG_NAMES_H_

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "engine/replica/replica.h"

namespace imapmesh {

// A keyword that has another name here.
struct KeywordMapping {
  std::string mesh;
  std::string here;
};

class FlagNames {
 public:
  FlagNames() = default;
  // Neither a mesh nor a here is given twice, in any case.
  explicit FlagNames(const std::vector<KeywordMapping>& mappings);

  // Flags of a message as the server told them. A keyword that stands there by the mesh's own name, though it has
  // another here, counts as well.
  std::vector<std::string> ToMesh(std::vector<std::string> flags) const;
  // PERMANENTFLAGS: a mapped keyword is kept if its name here is.
  std::vector<std::string> PermanentToMesh(const std::vector<std::string>& flags) const;
  // To be set here, and to be removed: by both names that ToMesh knows, as far as `permanent` (CheckKept) has them.
  std::vector<std::string> ToSet(const std::vector<std::string>& flags) const;
  std::vector<std::string> ToRemove(const std::vector<std::string>& flags,
                                    const std::optional<std::vector<std::string>>& permanent) const;
  // Keywords of the mesh that cannot be stored here: their names stand for others.
  const std::vector<std::string>& apart() const { return apart_; }

  // What a session tells, in the mesh's words.
  void Translate(Observation& observation) const;

 private:
  using Names = std::map<std::string, std::string>;  // by the other side's name in lower case

  Names to_mesh_;
  Names to_here_;
  std::vector<std::string> apart_;
};

// kFailedPrecondition for a flag that is not among PERMANENTFLAGS: it would be taken and forgotten (RFC 3501 section
// 7.1). Both in the server's words. `permanent` nullopt: the server did not tell.
absl::Status CheckKept(const std::optional<std::vector<std::string>>& permanent, const FlagStore& store);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_REPLICA_FLAG_NAMES_H_
