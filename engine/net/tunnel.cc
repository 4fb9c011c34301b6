#include "engine/net/tunnel.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <asio/posix/stream_descriptor.hpp>
#include <cerrno>
#include <cstring>
#include <thread>

#include "base/printable.h"
#include "engine/net/socket_stream.h"

extern char** environ;

namespace imapmesh {
namespace {

constexpr size_t kErrorBytes = 2048;

using asio::posix::stream_descriptor;

class TunnelStream final : public ByteStream {
 public:
  TunnelStream(stream_descriptor from_child, stream_descriptor to_child, pid_t child, int error_pipe, std::string what)
      : output_(std::move(from_child), what),
        input_(std::move(to_child), what),
        child_(child),
        error_pipe_(error_pipe),
        what_(std::move(what)) {}

  ~TunnelStream() override {
    Close();
    close(error_pipe_);
  }

  asio::awaitable<absl::StatusOr<size_t>> Read(std::span<char> into) override {
    absl::StatusOr<size_t> count = co_await output_.Read(into);
    const bool ended = !closed_ && (!count.ok() || *count == 0);
    if (!ended) co_return count;
    const std::string cause = Ending();
    if (count.ok() && cause.empty()) co_return count;
    co_return Error(absl::StatusCode::kUnavailable, "%s ended%s", what_, cause);
  }

  asio::awaitable<absl::Status> Write(std::string_view bytes) override {
    const std::array<std::string_view, 1> parts = {bytes};
    co_return co_await WriteParts(parts);
  }

  asio::awaitable<absl::Status> WriteParts(std::span<const std::string_view> parts) override {
    absl::Status status = co_await input_.WriteParts(parts);
    if (status.ok() || closed_) co_return status;
    co_return Error(absl::StatusCode::kUnavailable, "%s ended%s", what_, Ending());
  }

  void Close() override {
    if (closed_) return;
    closed_ = true;
    output_.Close();
    input_.Close();
    if (reaped_) return;
    // The end of its input makes an IMAP server go by itself; a thread makes sure without holding up the engine.
    std::thread(&TunnelStream::End, child_).detach();
    reaped_ = true;
  }

  uint64_t bytes_sent() const override { return input_.bytes_sent(); }
  uint64_t bytes_received() const override { return output_.bytes_received(); }

 private:
  static void End(pid_t child) {
    for (const int signal : {0, SIGTERM, SIGKILL}) {
      if (signal != 0) kill(-child, signal);
      for (int i = 0; i < 100; ++i) {
        if (waitpid(child, nullptr, signal == SIGKILL ? 0 : WNOHANG) != 0) return;
        usleep(20'000);
      }
    }
  }

  // ": exit status 127: sh: 1: nosuch: not found", as far as it can be told now.
  std::string Ending() {
    int status = 0;
    pid_t ended = 0;
    for (int i = 0; i < 50 && !reaped_ && ended == 0; ++i) {  // it closed its output: it is about to go
      ended = waitpid(child_, &status, WNOHANG);
      if (ended == 0) usleep(2'000);
    }
    std::string cause;
    if (ended == child_) {
      reaped_ = true;
      if (WIFEXITED(status) && WEXITSTATUS(status) != 0) {
        cause = " with exit status " + std::to_string(WEXITSTATUS(status));
      } else if (WIFSIGNALED(status)) {
        cause = " by signal " + std::to_string(WTERMSIG(status));
      }
    }
    char buffer[kErrorBytes];
    const ssize_t count = read(error_pipe_, buffer, sizeof buffer);
    if (count > 0) {
      std::string_view text(buffer, static_cast<size_t>(count));
      while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
      cause += ": " + Printable(text, kErrorBytes);
    }
    return cause;
  }

  SocketStream<stream_descriptor> output_;  // of the child
  SocketStream<stream_descriptor> input_;
  pid_t child_;
  int error_pipe_;  // non-blocking read end
  std::string what_;
  bool closed_ = false;
  bool reaped_ = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ByteStream>> StartTunnel(asio::any_io_executor executor, const std::string& command,
                                                        const std::string& folder, const std::string& what) {
  // Pipes, not a socket: Dovecot takes a socket on its standard input for inetd and refuses to serve.
  int input[2], output[2], errors[2];
  if (pipe2(input, O_CLOEXEC) != 0 || pipe2(output, O_CLOEXEC) != 0 || pipe2(errors, O_CLOEXEC) != 0) {
    return Error(absl::StatusCode::kUnavailable, "%s cannot be started: %s", what, std::strerror(errno));
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  if (!folder.empty()) posix_spawn_file_actions_addchdir_np(&actions, folder.c_str());
  posix_spawn_file_actions_adddup2(&actions, input[0], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, errors[1], STDERR_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none, defaults;
  sigemptyset(&none);
  sigfillset(&defaults);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  const std::string shell = "/bin/sh";
  const char* arguments[] = {shell.c_str(), "-c", command.c_str(), nullptr};
  pid_t child = 0;
  const int failed = posix_spawn(&child, shell.c_str(), &actions, &attributes, const_cast<char**>(arguments), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  close(input[0]);
  close(output[1]);
  close(errors[1]);
  if (failed != 0) {
    close(input[1]);
    close(output[0]);
    close(errors[0]);
    return Error(absl::StatusCode::kUnavailable, "%s cannot be started in %s: %s", what, folder, std::strerror(failed));
  }
  fcntl(errors[0], F_SETFL, O_NONBLOCK);
  return std::make_unique<TunnelStream>(stream_descriptor(executor, output[0]), stream_descriptor(executor, input[1]),
                                        child, errors[0], what);
}

}  // namespace imapmesh
