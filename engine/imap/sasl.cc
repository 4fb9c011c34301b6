#include "engine/imap/sasl.h"

#include <algorithm>
#include <utility>

namespace imapmesh::imap {
namespace {

absl::Status CheckNoNul(std::string_view name, std::string_view text, std::string_view what) {
  if (text.find('\0') == std::string_view::npos) return absl::OkStatus();
  return Error(absl::StatusCode::kInvalidArgument, "%s: a NUL byte in the %s", name, what);
}

absl::Status Unasked(std::string_view name) {
  return Error(absl::StatusCode::kDataLoss, "%s: the server asked for more than the mechanism has", name);
}

class Plain : public SaslMechanism {
 public:
  Plain(std::string username, std::string password) : username_(std::move(username)), password_(std::move(password)) {}
  std::string_view name() const override { return "PLAIN"; }
  absl::StatusOr<std::optional<std::string>> Begin() override {
    RETURN_IF_ERROR(CheckNoNul(name(), username_, "user name"));
    RETURN_IF_ERROR(CheckNoNul(name(), password_, "password"));
    return std::optional<std::string>(std::string(1, '\0') + username_ + std::string(1, '\0') + password_);
  }
  absl::StatusOr<std::string> Respond(std::string_view) override { return Unasked(name()); }

 private:
  std::string username_, password_;
};

class Login : public SaslMechanism {
 public:
  Login(std::string username, std::string password) : username_(std::move(username)), password_(std::move(password)) {}
  std::string_view name() const override { return "LOGIN"; }
  absl::StatusOr<std::optional<std::string>> Begin() override {
    RETURN_IF_ERROR(CheckNoNul(name(), username_, "user name"));
    RETURN_IF_ERROR(CheckNoNul(name(), password_, "password"));
    return std::optional<std::string>();
  }
  // The prompts' texts differ from server to server; their order does not.
  absl::StatusOr<std::string> Respond(std::string_view) override {
    ++prompts_;
    if (prompts_ > 2) return Unasked(name());
    return prompts_ == 1 ? username_ : password_;
  }

 private:
  std::string username_, password_;
  int prompts_ = 0;
};

class External : public SaslMechanism {
 public:
  explicit External(std::string username) : username_(std::move(username)) {}
  std::string_view name() const override { return "EXTERNAL"; }
  absl::StatusOr<std::optional<std::string>> Begin() override {
    RETURN_IF_ERROR(CheckNoNul(name(), username_, "user name"));
    return std::optional<std::string>(username_);
  }
  absl::StatusOr<std::string> Respond(std::string_view) override { return Unasked(name()); }

 private:
  std::string username_;
};

}  // namespace

std::string EscapeSaslName(std::string_view name) {
  std::string escaped;
  for (const char c : name) {
    if (c == ',') {
      escaped += "=2C";
    } else if (c == '=') {
      escaped += "=3D";
    } else {
      escaped += c;
    }
  }
  return escaped;
}

std::unique_ptr<SaslMechanism> MakePlain(std::string username, std::string password) {
  return std::make_unique<Plain>(std::move(username), std::move(password));
}

std::unique_ptr<SaslMechanism> MakeLogin(std::string username, std::string password) {
  return std::make_unique<Login>(std::move(username), std::move(password));
}

std::unique_ptr<SaslMechanism> MakeExternal(std::string username) {
  return std::make_unique<External>(std::move(username));
}

}  // namespace imapmesh::imap
