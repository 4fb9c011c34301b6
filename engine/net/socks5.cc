#include "engine/net/socks5.h"

#include <array>
#include <asio/ip/address.hpp>
#include <utility>

namespace imapmesh {
namespace {

constexpr char kVersion = 5;
constexpr char kLoginVersion = 1;
constexpr size_t kFieldBytesMax = 255;
constexpr unsigned char kNoLogin = 0x00, kPasswordLogin = 0x02, kNoneAcceptable = 0xff;
constexpr char kConnect = 1;
constexpr unsigned char kIpv4 = 1, kName = 3, kIpv6 = 4;

asio::awaitable<absl::StatusOr<std::string>> ReadExactly(ByteStream& stream, size_t count) {
  std::string bytes(count, '\0');
  for (size_t done = 0; done < count;) {
    std::span<char> into(bytes.data() + done, count - done);
    CO_ASSIGN_OR_RETURN(const size_t more, co_await stream.Read(into));
    if (more == 0) co_return absl::UnavailableError("it closed the connection");
    done += more;
  }
  co_return bytes;
}

absl::Status NoSocks5() {
  return absl::DataLossError("what answers there does not speak SOCKS5; check the proxy's host and port");
}

// RFC 1928 section 6.
std::string ReplyText(unsigned char reply) {
  static constexpr std::array<const char*, 9> kReplies = {"success",
                                                          "general failure",
                                                          "its rules do not allow this connection",
                                                          "network unreachable",
                                                          "host unreachable",
                                                          "connection refused",
                                                          "time to live expired",
                                                          "command not supported",
                                                          "kind of address not supported"};
  return reply < kReplies.size() ? kReplies[reply] : "reply " + std::to_string(reply);
}

asio::awaitable<absl::Status> LogIn(ByteStream& stream, const Socks5Request& request) {
  std::string login(1, kLoginVersion);
  login += static_cast<char>(request.username.size());
  login += request.username;
  login += static_cast<char>(request.password.size());
  login += request.password;
  CO_RETURN_IF_ERROR(co_await stream.Write(login));
  CO_ASSIGN_OR_RETURN(const std::string answer, co_await ReadExactly(stream, 2));
  if (answer[1] != 0) {
    co_return absl::UnauthenticatedError("it refused the login; check user and password in proxy");
  }
  co_return absl::OkStatus();
}

asio::awaitable<absl::Status> Negotiate(ByteStream& stream, const Socks5Request& request) {
  const bool login = !request.username.empty();
  std::string greeting(1, kVersion);
  greeting += static_cast<char>(login ? 2 : 1);
  greeting += static_cast<char>(kNoLogin);
  if (login) greeting += static_cast<char>(kPasswordLogin);
  CO_RETURN_IF_ERROR(co_await stream.Write(greeting));
  CO_ASSIGN_OR_RETURN(const std::string answer, co_await ReadExactly(stream, 2));
  if (answer[0] != kVersion) co_return NoSocks5();
  const auto method = static_cast<unsigned char>(answer[1]);
  if (method == kNoLogin) co_return absl::OkStatus();
  if (method == kPasswordLogin && login) co_return co_await LogIn(stream, request);
  if (method == kNoneAcceptable) {
    co_return absl::UnauthenticatedError(
        login ? "it takes neither user and password nor connections without; it may want another way to log in"
              : "it wants a login; write it as proxy: \"socks5h://user:password@host:port\"");
  }
  co_return NoSocks5();
}

std::string EncodeAddress(const std::string& host) {
  asio::error_code no_address;
  const asio::ip::address address = asio::ip::make_address(host, no_address);
  std::string encoded;
  if (no_address) {
    encoded += static_cast<char>(kName);
    encoded += static_cast<char>(host.size());
    return encoded + host;
  }
  if (address.is_v4()) {
    const auto bytes = address.to_v4().to_bytes();
    encoded += static_cast<char>(kIpv4);
    encoded.append(bytes.begin(), bytes.end());
  } else {
    const auto bytes = address.to_v6().to_bytes();
    encoded += static_cast<char>(kIpv6);
    encoded.append(bytes.begin(), bytes.end());
  }
  return encoded;
}

// The address that the proxy bound is of no interest, but must be read.
asio::awaitable<absl::Status> ReadReply(ByteStream& stream) {
  CO_ASSIGN_OR_RETURN(const std::string head, co_await ReadExactly(stream, 4));
  if (head[0] != kVersion) co_return NoSocks5();
  const auto reply = static_cast<unsigned char>(head[1]);
  if (reply != 0) {
    co_return Error(absl::StatusCode::kUnavailable,
                    "it answered \"%s\"; check host and port, and what the proxy permits", ReplyText(reply));
  }
  const auto kind = static_cast<unsigned char>(head[3]);
  size_t address_size = 4;
  if (kind == kIpv6) {
    address_size = 16;
  } else if (kind == kName) {
    CO_ASSIGN_OR_RETURN(const std::string size, co_await ReadExactly(stream, 1));
    address_size = static_cast<unsigned char>(size[0]);
  } else if (kind != kIpv4) {
    co_return NoSocks5();
  }
  const auto rest = co_await ReadExactly(stream, address_size + 2);
  co_return rest.status();
}

}  // namespace

asio::awaitable<absl::Status> ConnectBySocks5(ByteStream& stream, Socks5Request request) {
  for (const std::string* field : {&request.host, &request.username, &request.password}) {
    if (field->size() > kFieldBytesMax) {
      co_return absl::InvalidArgumentError("host, user and password may have 255 bytes each in SOCKS5");
    }
  }
  CO_RETURN_IF_ERROR(co_await Negotiate(stream, request));
  std::string connect = {kVersion, kConnect, 0};
  connect += EncodeAddress(request.host);
  connect += static_cast<char>(request.port >> 8);
  connect += static_cast<char>(request.port & 0xff);
  CO_RETURN_IF_ERROR(co_await stream.Write(connect));
  co_return co_await ReadReply(stream);
}

}  // namespace imapmesh
