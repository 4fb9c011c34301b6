#include "rpc/listening_socket.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>

namespace imapmesh {
namespace {

constexpr std::string_view kUnix = "unix:";
constexpr int kBacklog = 128;

// Whether somebody answers there.
bool SomebodyListens(const sockaddr_un& address) {
  const OwnedFd probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (probe.get() < 0) return false;
  const bool connected = connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  return connected || errno == EAGAIN;  // its queue is full: it lives
}

absl::Status PrepareSocket(const std::string& path, const sockaddr_un& address) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  std::error_code error;
  const bool made = std::filesystem::create_directories(folder, error);
  if (!error && made) std::filesystem::permissions(folder, std::filesystem::perms::owner_all, error);
  if (error) {
    return Error(absl::StatusCode::kInvalidArgument, "--listen unix:%s: cannot make the folder: %s", path,
                 error.message());
  }
  struct stat found {};
  if (lstat(path.c_str(), &found) != 0) return absl::OkStatus();
  if (!S_ISSOCK(found.st_mode)) {
    return Error(absl::StatusCode::kInvalidArgument, "--listen unix:%s: something that is no socket is there", path);
  }
  if (SomebodyListens(address)) {
    return Error(absl::StatusCode::kUnavailable,
                 "--listen unix:%s: another process listens there; stop it or listen elsewhere", path);
  }
  if (unlink(path.c_str()) != 0) {
    return Error(absl::StatusCode::kInvalidArgument, "--listen unix:%s: cannot remove the old socket: %s", path,
                 std::strerror(errno));
  }
  return absl::OkStatus();
}

// Sockets made while this lives are the owner's alone.
class PrivateUmask {
 public:
  PrivateUmask() : before_(umask(0177)) {}
  ~PrivateUmask() { umask(before_); }

 private:
  mode_t before_;
};

absl::Status CannotListen(const std::string& address, int error) {
  return Error(absl::StatusCode::kUnavailable, "cannot listen on %s: %s", address, std::strerror(error));
}

absl::StatusOr<ListeningSocket> OpenUnix(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return Error(absl::StatusCode::kInvalidArgument,
                 "--listen unix:%s: a socket's path has at most %d bytes; take a shorter one", path,
                 static_cast<int>(sizeof(address.sun_path)) - 1);
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  RETURN_IF_ERROR(PrepareSocket(path, address));
  ListeningSocket made;
  made.address = std::string(kUnix) + path;
  OwnedFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const PrivateUmask private_socket;
  if (fd.get() < 0 || bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      chmod(path.c_str(), 0600) != 0 || listen(fd.get(), kBacklog) != 0) {
    return CannotListen(made.address, errno);
  }
  made.unix_path = path;
  made.fds.push_back(std::move(fd));
  return made;
}

// The port that the kernel chose.
std::string PortOf(int fd) {
  sockaddr_storage bound{};
  socklen_t length = sizeof(bound);
  char port[NI_MAXSERV] = "0";
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &length) == 0) {
    getnameinfo(reinterpret_cast<sockaddr*>(&bound), length, nullptr, 0, port, sizeof(port), NI_NUMERICSERV);
  }
  return port;
}

OwnedFd OpenTcpSocket(const addrinfo& where) {
  OwnedFd fd(socket(where.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int on = 1;
  const int off = 0;
  if (fd.get() < 0) return fd;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (where.ai_family == AF_INET6) setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
  if (bind(fd.get(), where.ai_addr, where.ai_addrlen) != 0 || listen(fd.get(), kBacklog) != 0) return OwnedFd();
  return fd;
}

// Every address of the host; one that this machine lacks (IPv6 switched off) is no error while another works.
absl::StatusOr<ListeningSocket> OpenTcp(const std::string& given, const ListenAddress& address) {
  ListeningSocket made;
  made.address = given;
  std::string port = address.port;
  addrinfo hints{};
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int failed = getaddrinfo(address.host.c_str(), port.c_str(), &hints, &found);
  if (failed != 0) {
    return Error(absl::StatusCode::kUnavailable, "cannot listen on %s: %s", given, gai_strerror(failed));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> list(found, freeaddrinfo);
  int error = 0;
  for (const addrinfo* where = found; where != nullptr; where = where->ai_next) {
    if (where->ai_family == AF_INET) {
      reinterpret_cast<sockaddr_in*>(where->ai_addr)->sin_port = htons(static_cast<uint16_t>(std::stoi(port)));
    } else if (where->ai_family == AF_INET6) {
      reinterpret_cast<sockaddr_in6*>(where->ai_addr)->sin6_port = htons(static_cast<uint16_t>(std::stoi(port)));
    }
    OwnedFd fd = OpenTcpSocket(*where);
    if (fd.get() < 0) {
      if (error == 0) error = errno;
      if (errno == EADDRINUSE) return CannotListen(given, errno);
      continue;
    }
    port = PortOf(fd.get());  // for port 0: the others take the port that the first was given
    made.fds.push_back(std::move(fd));
  }
  if (made.fds.empty()) return CannotListen(given, error);
  made.address = given.substr(0, given.rfind(':') + 1) + port;
  return made;
}

}  // namespace

OwnedFd::~OwnedFd() {
  if (fd_ >= 0) close(fd_);
}

bool ListenAddress::IsLoopback() const {
  if (host == "localhost") return true;
  in_addr v4{};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6{};
  return inet_pton(AF_INET6, host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

absl::StatusOr<ListenAddress> ParseListenAddress(const std::string& address) {
  ListenAddress result;
  if (std::string_view(address).substr(0, kUnix.size()) == kUnix) {
    const std::string path = address.substr(kUnix.size());
    if (path.empty()) return absl::InvalidArgumentError("--listen unix: names no path");
    std::error_code ignored;
    result.unix_path = std::filesystem::absolute(path, ignored);
    return result;
  }
  const size_t colon = address.rfind(':');
  if (colon != std::string::npos) {
    result.host = address.substr(0, colon);
    result.port = address.substr(colon + 1);
  }
  const bool digits = !result.port.empty() && result.port.size() <= 5 &&
                      result.port.find_first_not_of("0123456789") == std::string::npos;
  if (result.host.empty() || !digits || std::stoi(result.port) > 65535) {
    return Error(absl::StatusCode::kInvalidArgument, "--listen %s: an address is unix:PATH or HOST:PORT", address);
  }
  if (result.host.front() == '[' && result.host.back() == ']') {
    result.host = result.host.substr(1, result.host.size() - 2);
  }
  return result;
}

absl::StatusOr<ListeningSocket> OpenListeningSocket(const std::string& given, const ListenAddress& address) {
  return address.is_unix() ? OpenUnix(address.unix_path) : OpenTcp(given, address);
}

}  // namespace imapmesh
