#include "engine/replica/credentials.h"

#include <cstdlib>
#include <fstream>

#include "engine/net/deadline.h"
#include "engine/net/tunnel.h"

namespace imapmesh {
namespace {

constexpr size_t kMaxPassword = 64 * 1024;  // tokens can be long
constexpr Duration kCommandLimit = std::chrono::seconds(30);

std::string FirstLine(std::string text) {
  const size_t end = text.find_first_of("\r\n");
  if (end != std::string::npos) text.resize(end);
  return text;
}

asio::awaitable<absl::StatusOr<std::string>> RunCommand(asio::any_io_executor executor, Clock& clock,
                                                        std::string command, std::string folder) {
  auto stream = StartTunnel(executor, command, folder, "auth.password_command");
  if (!stream.ok()) co_return stream.status();
  DeadlineGuard deadline(clock, **stream, kCommandLimit);
  std::string output;
  char buffer[4096];
  while (output.size() < kMaxPassword) {
    std::span<char> into(buffer);
    const auto count = co_await (*stream)->Read(into);
    if (!count.ok()) {
      co_return Error(absl::StatusCode::kUnauthenticated, "%s",
                      deadline.fired() ? "auth.password_command took longer than 30 s" : Message(count.status()));
    }
    if (*count == 0) break;
    output.append(buffer, *count);
  }
  co_return FirstLine(std::move(output));
}

}  // namespace

asio::awaitable<absl::StatusOr<std::string>> ReadPassword(asio::any_io_executor executor, Clock& clock, v1::Auth auth,
                                                          std::string folder) {
  std::string password, source;
  switch (auth.secret_case()) {
    case v1::Auth::kPasswordCommand: {
      source = "auth.password_command printed no password";
      auto output = co_await RunCommand(executor, clock, auth.password_command(), folder);
      if (!output.ok()) co_return output.status();
      password = *std::move(output);
      break;
    }
    case v1::Auth::kPasswordFile: {
      const bool absolute = auth.password_file().starts_with('/');
      const std::string path = absolute || folder.empty() ? auth.password_file() : folder + "/" + auth.password_file();
      source = "auth.password_file " + path + " cannot be read or is empty";
      std::ifstream file(path);
      std::getline(file, password);
      password = FirstLine(std::move(password));
      break;
    }
    case v1::Auth::kPasswordEnv: {
      source = "the environment variable " + auth.password_env() + " (auth.password_env) is not set";
      const char* value = std::getenv(auth.password_env().c_str());
      if (value != nullptr) password = value;
      break;
    }
    case v1::Auth::kPassword:
      password = auth.password();
      break;
    case v1::Auth::SECRET_NOT_SET:
      source = "auth names no password: add password_command, password_file or password_env";
      break;
  }
  if (password.empty()) co_return absl::UnauthenticatedError(ToAbsl(source));
  co_return password;
}

}  // namespace imapmesh
