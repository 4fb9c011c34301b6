// Which mechanism to log in by: a decision over what the server offers, what the topology says and what was used
// before. login.cc asks; pure; any thread.
#ifndef IMAPMESH_ENGINE_IMAP_MECHANISM_CHOICE_H_
#define IMAPMESH_ENGINE_IMAP_MECHANISM_CHOICE_H_

#include <functional>
#include <set>
#include <string>

#include "base/status.h"

namespace imapmesh::imap {

struct MechanismPolicy {
  // auth.mechanism. "": the strongest. "SCRAM-SHA-256" and "SCRAM-SHA-1" include their -PLUS form.
  std::string wanted;
  bool has_token = false;  // auth.token_command: "" then means OAUTHBEARER, else XOAUTH2
  bool can_bind = false;   // TLS, and it gives channel bindings
  // What the last login used that succeeded here; "" for none. Where the server now offers only weaker ones, that is
  // refused: somebody who sits in between would take the stronger ones away to be told the password.
  std::string strongest_before;
};

struct MechanismChoice {
  std::string mechanism;
  bool login_command = false;  // LOGIN as a command: the server has no AUTH=LOGIN
};

// `capabilities` in capitals, as Session keeps them. kUnauthenticated with what the server offers and what to do.
absl::StatusOr<MechanismChoice> ChooseMechanism(const std::set<std::string, std::less<>>& capabilities,
                                                const MechanismPolicy& policy);

}  // namespace imapmesh::imap

#endif  // IMAPMESH_ENGINE_IMAP_MECHANISM_CHOICE_H_
