#include "engine/imap/mechanism_choice.h"

#include <algorithm>
#include <vector>

#include "base/printable.h"

namespace imapmesh::imap {
namespace {

using Capabilities = std::set<std::string, std::less<>>;

// The strongest first: with a proof of the TLS channel, without, and then those that hand over the password.
const std::vector<std::string>& Ladder() {
  static const auto& ladder = *new std::vector<std::string>{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS",
                                                            "SCRAM-SHA-1",        "PLAIN",         "LOGIN"};
  return ladder;
}

// What may be used at all, the strongest first.
std::vector<std::string> Permitted(const MechanismPolicy& policy) {
  if (policy.wanted.empty() && policy.has_token) return {"OAUTHBEARER", "XOAUTH2"};
  if (policy.wanted.empty()) return Ladder();
  if (policy.wanted == "SCRAM-SHA-256" || policy.wanted == "SCRAM-SHA-1") {
    return {policy.wanted + "-PLUS", policy.wanted};
  }
  return {policy.wanted};
}

bool Offers(const Capabilities& capabilities, const std::string& mechanism) {
  if (capabilities.contains("AUTH=" + mechanism)) return true;
  return mechanism == "LOGIN" && !capabilities.contains("LOGINDISABLED");
}

std::string OfferText(const Capabilities& capabilities) {
  std::string text;
  for (const std::string& capability : capabilities) {
    if (!capability.starts_with("AUTH=")) continue;
    text += (text.empty() ? "" : ", ") + capability.substr(5);
  }
  return text.empty() ? "none" : Printable(text);
}

size_t Rank(const std::string& mechanism) {
  const auto& ladder = Ladder();
  return static_cast<size_t>(std::find(ladder.begin(), ladder.end(), mechanism) - ladder.begin());
}

absl::Status NothingInCommon(const Capabilities& capabilities, const MechanismPolicy& policy) {
  if (policy.wanted.empty() && !policy.has_token) {
    return Error(absl::StatusCode::kUnauthenticated,
                 "the server permits no login on this connection (LOGINDISABLED, no AUTH=PLAIN; its mechanisms: %s); "
                 "use security: TLS or STARTTLS, or set auth.mechanism to one of them that imapmesh knows",
                 OfferText(capabilities));
  }
  const std::string wanted = policy.wanted.empty() ? "OAUTHBEARER or XOAUTH2" : policy.wanted;
  const std::string why = policy.wanted.ends_with("-PLUS") && !policy.can_bind
                              ? "needs a TLS connection that gives a channel binding"
                              : "is not offered by the server";
  const std::string remedy = policy.has_token ? "check that this account may log in by tokens"
                                              : "set auth.mechanism to one of these, or leave it out for the strongest";
  return Error(absl::StatusCode::kUnauthenticated, "auth.mechanism %s %s (its mechanisms: %s); %s", wanted, why,
               OfferText(capabilities), remedy);
}

}  // namespace

absl::StatusOr<MechanismChoice> ChooseMechanism(const Capabilities& capabilities, const MechanismPolicy& policy) {
  for (const std::string& mechanism : Permitted(policy)) {
    if (mechanism.ends_with("-PLUS") && !policy.can_bind) continue;
    if (!Offers(capabilities, mechanism)) continue;
    if (!policy.strongest_before.empty() && Rank(mechanism) > Rank(policy.strongest_before)) {
      return Error(absl::StatusCode::kUnauthenticated,
                   "the server offered %s before and now nothing better than %s (its mechanisms: %s); somebody may be "
                   "in between. If the server was changed on purpose, set auth.mechanism: \"%s\"",
                   policy.strongest_before, mechanism, OfferText(capabilities), mechanism);
    }
    MechanismChoice choice;
    choice.mechanism = mechanism;
    choice.login_command = mechanism == "LOGIN" && !capabilities.contains("AUTH=LOGIN");
    return choice;
  }
  return NothingInCommon(capabilities, policy);
}

}  // namespace imapmesh::imap
