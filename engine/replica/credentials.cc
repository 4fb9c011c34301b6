#include "engine/replica/credentials.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string_view>
#include <utility>

#include "base/printable.h"
#include "engine/net/deadline.h"
#include "engine/net/tunnel.h"

namespace imapmesh {
namespace {

constexpr size_t kMaxPassword = 64 * 1024;  // tokens can be long
constexpr std::string_view kCredentialPrefix = "${CREDENTIALS_DIRECTORY}/";
constexpr Duration kCommandLimit = std::chrono::seconds(30);

std::string FirstLine(std::string text) {
  const size_t end = text.find_first_of("\r\n");
  if (end != std::string::npos) text.resize(end);
  return text;
}

// `field` names the command in errors.
asio::awaitable<absl::StatusOr<std::string>> RunCommand(asio::any_io_executor executor, Clock& clock,
                                                        std::string command, std::string folder, std::string field) {
  auto stream = StartTunnel(executor, command, folder, field);
  if (!stream.ok()) co_return stream.status();
  DeadlineGuard deadline(clock, **stream, kCommandLimit);
  std::string output;
  char buffer[4096];
  while (output.size() < kMaxPassword) {
    std::span<char> into(buffer);
    const auto count = co_await (*stream)->Read(into);
    if (!count.ok()) {
      co_return Error(absl::StatusCode::kUnavailable, "%s",
                      deadline.fired() ? field + " took longer than 30 s" : Message(count.status()));
    }
    if (*count == 0) break;
    output.append(buffer, *count);
  }
  output = FirstLine(std::move(output));
  if (output.empty()) co_return Error(absl::StatusCode::kUnavailable, "%s printed nothing", field);
  co_return output;
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  errno = 0;
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  if (!file && errno != 0) {
    return Error(absl::StatusCode::kUnavailable, "auth.password_file %s cannot be read: %s", Printable(path),
                 std::strerror(errno));
  }
  line = FirstLine(std::move(line));
  if (line.empty()) {
    return Error(absl::StatusCode::kUnavailable, "the first line of auth.password_file %s is empty", Printable(path));
  }
  return line;
}

absl::StatusOr<std::string> ReadEnvironment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  if (value != nullptr && *value != '\0') return std::string(value);
  return Error(absl::StatusCode::kUnauthenticated,
               "the environment variable %s (auth.password_env) is not set for the daemon", name);
}

}  // namespace

absl::StatusOr<std::string> ResolveFile(const std::string& path, const std::string& folder, std::string_view field) {
  if (!path.starts_with(kCredentialPrefix)) {
    return path.empty() || path.starts_with('/') || folder.empty() ? path : folder + "/" + path;
  }
  const char* directory = std::getenv("CREDENTIALS_DIRECTORY");
  const std::string name = path.substr(kCredentialPrefix.size());
  if (directory == nullptr || *directory == '\0') {
    return Error(absl::StatusCode::kUnauthenticated,
                 "%s names the credential %s, but systemd passed none to this process; add LoadCredential=%s:FILE to "
                 "the service",
                 field, Printable(name), Printable(name));
  }
  return std::string(directory) + "/" + name;
}

asio::awaitable<absl::StatusOr<std::string>> ReadPassword(asio::any_io_executor executor, Clock& clock, v1::Auth auth,
                                                          std::string folder) {
  switch (auth.secret_case()) {
    case v1::Auth::kPasswordCommand:
      co_return co_await RunCommand(executor, clock, auth.password_command(), folder, "auth.password_command");
    case v1::Auth::kPasswordFile: {
      CO_ASSIGN_OR_RETURN(const std::string path, ResolveFile(auth.password_file(), folder, "auth.password_file"));
      co_return ReadFile(path);
    }
    case v1::Auth::kPasswordEnv:
      co_return ReadEnvironment(auth.password_env());
    case v1::Auth::kPassword:
      co_return auth.password();
    case v1::Auth::SECRET_NOT_SET:
      break;
  }
  co_return absl::UnauthenticatedError("auth names no password: add password_command, password_file or password_env");
}

TokenSource::TokenSource(asio::any_io_executor executor, Clock& clock, std::string command, std::string folder)
    : executor_(executor), clock_(clock), command_(std::move(command)), folder_(std::move(folder)), ended_(executor) {}

asio::awaitable<absl::StatusOr<std::string>> TokenSource::Token(std::string refused) {
  while (running_) co_await ended_.Wait();
  if (!token_.empty() && token_ != refused) co_return token_;
  running_ = true;
  absl::StatusOr<std::string> token = co_await RunCommand(executor_, clock_, command_, folder_, "auth.token_command");
  running_ = false;
  if (token.ok()) token_ = *token;
  ended_.Notify();
  co_return token;
}

}  // namespace imapmesh
