#include "graph/draw.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/printable.h"

extern char** environ;

namespace imapmesh {
namespace {

constexpr size_t kShownMax = 80;
constexpr size_t kSvgBytesMax = 64 << 20;

std::string SecurityText(const v1::Imap& imap) {
  switch (imap.security()) {
    case v1::Imap::TLS:
      return "TLS";
    case v1::Imap::STARTTLS:
      return "STARTTLS";
    default:
      return "no encryption";
  }
}

std::string Patterns(const google::protobuf::RepeatedPtrField<std::string>& patterns) {
  std::string text;
  for (const std::string& pattern : patterns) text += (text.empty() ? "" : ", ") + Printable(pattern, kShownMax);
  return text;
}

std::string_view Arrow(const v1::Edge& edge) {
  switch (edge.direction()) {
    case v1::Edge::A_TO_B:
      return "-->";
    case v1::Edge::B_TO_A:
      return "<--";
    default:
      return "<->";
  }
}

std::string DotQuoted(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "\"";
}

// Closes what it holds, and ends a process that was not waited for.
class DotProcess {
 public:
  DotProcess() = default;
  DotProcess(const DotProcess&) = delete;
  DotProcess& operator=(const DotProcess&) = delete;
  ~DotProcess() {
    if (socket_ >= 0) ::close(socket_);
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
  }

  // One socket pair is its standard input and output; a socket, so that a broken one raises no SIGPIPE (MSG_NOSIGNAL).
  absl::Status Start() {
    int pair[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
      return Error(absl::StatusCode::kUnavailable, "dot cannot be started: %s", std::strerror(errno));
    }
    socket_ = pair[0];
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pair[1], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, pair[1], STDOUT_FILENO);
    char program[] = "dot", format[] = "-Tsvg";
    char* arguments[] = {program, format, nullptr};
    const int error = ::posix_spawnp(&pid_, program, &actions, nullptr, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    ::close(pair[1]);
    if (error == 0) return absl::OkStatus();
    pid_ = 0;
    if (error == ENOENT) {
      return absl::FailedPreconditionError(
          "Graphviz's dot is not installed; run apt-get install graphviz, or use --format dot or text");
    }
    return Error(absl::StatusCode::kUnavailable, "dot cannot be started: %s", std::strerror(error));
  }

  // Dot reads to the end before it writes, so that the two do not wait for each other.
  absl::Status Write(std::string_view text) {
    while (!text.empty()) {
      const ssize_t count = ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return Error(absl::StatusCode::kUnavailable, "dot does not read: %s", std::strerror(errno));
      text.remove_prefix(static_cast<size_t>(count));
    }
    ::shutdown(socket_, SHUT_WR);
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> ReadAll() {
    std::string text;
    char buffer[16384];
    while (text.size() < kSvgBytesMax) {
      const ssize_t count = ::recv(socket_, buffer, sizeof(buffer), 0);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0)
        return Error(absl::StatusCode::kUnavailable, "dot's picture cannot be read: %s", std::strerror(errno));
      if (count == 0) return text;
      text.append(buffer, static_cast<size_t>(count));
    }
    return absl::ResourceExhaustedError("the picture is larger than 64 MiB; use --format dot or text");
  }

  absl::Status Wait() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0) {
      if (errno != EINTR) return Error(absl::StatusCode::kUnavailable, "dot is lost: %s", std::strerror(errno));
    }
    pid_ = 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return absl::OkStatus();
    return Error(absl::StatusCode::kUnavailable, "dot failed (status %d); use --format dot or text", status);
  }

 private:
  int socket_ = -1;
  pid_t pid_ = 0;
};

}  // namespace

std::string EndpointText(const v1::Replica& replica) {
  switch (replica.endpoint_case()) {
    case v1::Replica::kImap:
      return absl::StrFormat("%s@%s:%d (%s)", Printable(replica.auth().username(), kShownMax),
                             Printable(replica.imap().host(), kShownMax), replica.imap().port(),
                             SecurityText(replica.imap()));
    case v1::Replica::kTunnel:
      return absl::StrFormat("tunnel `%s`", Printable(replica.tunnel().command(), kShownMax));
    case v1::Replica::kUnixSocket:
      return absl::StrFormat("unix socket %s", Printable(replica.unix_socket().path(), kShownMax));
    default:
      return "no endpoint";
  }
}

std::string CarriesText(const v1::Edge& edge) {
  const v1::MailboxSelection& mailboxes = edge.mailboxes();
  std::string text = mailboxes.include().empty() ? "every mailbox" : Patterns(mailboxes.include());
  if (!mailboxes.exclude().empty()) text += " but " + Patterns(mailboxes.exclude());
  const bool every_change = edge.flags() == v1::Edge::ALL && edge.deletes() == v1::Edge::PROPAGATE;
  if (every_change) text += ", every change";
  if (edge.flags() == v1::Edge::NONE) text += "; no flags";
  if (edge.deletes() == v1::Edge::KEEP) text += "; deletions are not passed on";
  if (edge.paused()) text += "; paused";
  return text;
}

std::string DrawText(const Graph& graph) {
  size_t width = 0;
  for (const v1::Replica& replica : graph.topology().replica()) width = std::max(width, replica.name().size());
  const int columns = static_cast<int>(width);
  std::string text = absl::StrFormat("%s: %d replica(s), %d edge(s)\n\nreplicas\n", graph.name(), graph.replica_count(),
                                     graph.edges().size());
  for (const v1::Replica& replica : graph.topology().replica()) {
    text += absl::StrFormat("  %-*s  %s\n", columns, replica.name(), EndpointText(replica));
  }
  text += "\nedges\n";
  for (const v1::Edge& edge : graph.topology().edge()) {
    text +=
        absl::StrFormat("  %-*s %s %-*s  %s\n", columns, edge.a(), Arrow(edge), columns, edge.b(), CarriesText(edge));
  }
  return text;
}

std::string DrawDot(const Graph& graph) {
  std::string text = absl::StrFormat(
      "digraph %s {\n  node [shape=box, style=rounded, fontname=\"sans-serif\"];\n"
      "  edge [fontname=\"sans-serif\", fontsize=10];\n",
      DotQuoted(graph.name()));
  for (const v1::Replica& replica : graph.topology().replica()) {
    // The line break is Graphviz's own escape, so it joins two quoted texts without their quotes.
    const std::string name = DotQuoted(replica.name()), endpoint = DotQuoted(EndpointText(replica));
    text += absl::StrFormat("  %s [label=%s\\n%s];\n", name, name.substr(0, name.size() - 1), endpoint.substr(1));
  }
  for (const v1::Edge& edge : graph.topology().edge()) {
    const char* direction = edge.direction() == v1::Edge::A_TO_B   ? "forward"
                            : edge.direction() == v1::Edge::B_TO_A ? "back"
                                                                   : "both";
    const std::string carries = CarriesText(edge);
    const std::string label = carries == CarriesText(v1::Edge()) ? "" : ", label=" + DotQuoted(carries);
    text += absl::StrFormat("  %s -> %s [dir=%s%s%s];\n", DotQuoted(edge.a()), DotQuoted(edge.b()), direction, label,
                            edge.paused() ? ", style=dashed" : "");
  }
  return text + "}\n";
}

absl::StatusOr<std::string> DrawSvg(const Graph& graph) {
  DotProcess dot;
  RETURN_IF_ERROR(dot.Start());
  RETURN_IF_ERROR(dot.Write(DrawDot(graph)));
  ASSIGN_OR_RETURN(auto picture, dot.ReadAll());
  RETURN_IF_ERROR(dot.Wait());
  return picture;
}

}  // namespace imapmesh
