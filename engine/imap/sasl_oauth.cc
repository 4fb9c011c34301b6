// Bearer tokens: OAUTHBEARER (RFC 7628) and XOAUTH2.
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <utility>

#include "base/printable.h"
#include "engine/imap/sasl.h"

namespace imapmesh::imap {
namespace {

constexpr size_t kShownBytes = 200;

std::string StringField(const google::protobuf::Struct& object, const std::string& field) {
  const auto found = object.fields().find(field);
  if (found == object.fields().end()) return "";
  const google::protobuf::Value& value = found->second;
  if (value.kind_case() == google::protobuf::Value::kNumberValue) {
    return std::to_string(static_cast<int64_t>(value.number_value()));
  }
  return value.string_value();
}

// RFC 7628 section 3.2.2: {"status": "invalid_token", "scope": "…"}. XOAUTH2 writes HTTP's number as the status.
std::string ReadRefusal(std::string_view json) {
  google::protobuf::Struct object;
  const auto parsed = google::protobuf::util::JsonStringToMessage(std::string(json), &object);
  const std::string status = parsed.ok() ? StringField(object, "status") : "";
  if (status.empty()) return "\"" + Printable(json, kShownBytes) + "\"";
  const std::string scope = StringField(object, "scope");
  return Printable(status, kShownBytes) + (scope.empty() ? "" : ", scope \"" + Printable(scope, kShownBytes) + "\"");
}

class OAuth : public SaslMechanism {
 public:
  // `end`: the dummy answer that ends a refused exchange (RFC 7628 section 3.2.3).
  OAuth(std::string_view name, std::string first, std::string token, std::string end)
      : name_(name), first_(std::move(first)), token_(std::move(token)), end_(std::move(end)) {}

  std::string_view name() const override { return name_; }

  absl::StatusOr<std::optional<std::string>> Begin() override {
    // RFC 6750 section 2.1; anything else could become a field of its own.
    const bool printable =
        std::all_of(token_.begin(), token_.end(), [](unsigned char c) { return c > ' ' && c < 0x7f; });
    if (token_.empty() || !printable) {
      return Error(absl::StatusCode::kInvalidArgument, "%s: what is to be the token holds other than printable ASCII",
                   name_);
    }
    if (std::any_of(first_.begin(), first_.end(), [](char c) { return c == '\0' || c == '\x01'; })) {
      return Error(absl::StatusCode::kInvalidArgument, "%s: a control character in the user name", name_);
    }
    return std::optional<std::string>(first_ + "\x01" + "auth=Bearer " + token_ + "\x01\x01");
  }

  absl::StatusOr<std::string> Respond(std::string_view challenge) override {
    if (refused_) return Error(absl::StatusCode::kDataLoss, "%s: the server asked again after it refused", name_);
    refused_ = true;
    refusal_ = ReadRefusal(challenge);
    return end_;
  }

  absl::Status Finish() const override {
    if (!refused_) return absl::OkStatus();
    return Error(absl::StatusCode::kDataLoss, "%s: the server refused the token and then accepted it", name_);
  }

  std::string refusal() const override { return refusal_; }

 private:
  std::string name_, first_, token_, end_;
  bool refused_ = false;
  std::string refusal_;
};

// Fields after the GS2 header, joined by ^A.
class OAuthBearer : public OAuth {
 public:
  OAuthBearer(const OAuthIdentity& identity, std::string token)
      : OAuth("OAUTHBEARER", Header(identity), std::move(token), "\x01"), fields_(Fields(identity)) {}

  absl::StatusOr<std::optional<std::string>> Begin() override {
    ASSIGN_OR_RETURN(std::optional<std::string> first, OAuth::Begin());
    first->insert(first->find('\x01'), fields_);
    return first;
  }

 private:
  static std::string Header(const OAuthIdentity& identity) {
    return identity.username.empty() ? "n,," : "n,a=" + EscapeSaslName(identity.username) + ",";
  }
  static std::string Fields(const OAuthIdentity& identity) {
    if (identity.host.empty()) return "";
    return "\x01host=" + identity.host + "\x01port=" + std::to_string(identity.port);
  }

  std::string fields_;
};

}  // namespace

std::unique_ptr<SaslMechanism> MakeOAuthBearer(OAuthIdentity identity, std::string token) {
  return std::make_unique<OAuthBearer>(identity, std::move(token));
}

std::unique_ptr<SaslMechanism> MakeXOAuth2(std::string username, std::string token) {
  return std::make_unique<OAuth>("XOAUTH2", "user=" + username, std::move(token), "");
}

}  // namespace imapmesh::imap
