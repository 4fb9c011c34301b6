#include "graph/proxy.h"

#include <algorithm>
#include <charconv>
#include <optional>

namespace imapmesh {
namespace {

constexpr size_t kFieldBytesMax = 255;  // RFC 1929, and a host in RFC 1928

absl::Status Wrong(std::string_view what) {
  return Error(
      absl::StatusCode::kInvalidArgument,
      "%s; write socks5://host:port (names resolved here) or socks5h://user:password@host:port (names resolved "
      "by the proxy)",
      std::string(what));
}

std::optional<std::string> PercentDecode(std::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    unsigned char byte = 0;
    if (text.size() - i < 3) return std::nullopt;
    const auto [stop, error] = std::from_chars(text.data() + i + 1, text.data() + i + 3, byte, 16);
    if (error != std::errc() || stop != text.data() + i + 3) return std::nullopt;
    decoded += static_cast<char>(byte);
    i += 2;
  }
  return decoded;
}

absl::Status ReadLogin(std::string_view login, Proxy& proxy) {
  const size_t colon = std::min(login.find(':'), login.size());
  const auto username = PercentDecode(login.substr(0, colon));
  const auto password = PercentDecode(login.substr(std::min(colon + 1, login.size())));
  if (!username || !password)
    return Wrong("has a % that is not followed by two hexadecimal figures in user or password");
  // RFC 1929 knows no empty fields.
  if (username->empty() || password->empty()) return Wrong("needs both user and password before the @, or neither");
  if (username->size() > kFieldBytesMax || password->size() > kFieldBytesMax) {
    return Wrong("has a user or password of more than 255 bytes, which SOCKS5 cannot carry");
  }
  proxy.username = *username;
  proxy.password = *password;
  return absl::OkStatus();
}

absl::Status ReadHost(std::string_view text, Proxy& proxy) {
  std::string_view port;
  if (text.starts_with('[')) {
    const size_t end = text.find(']');
    if (end == std::string_view::npos) return Wrong("has a [ without a ]");
    proxy.host = text.substr(1, end - 1);
    port = text.substr(end + 1);
    if (proxy.host.find(':') == std::string::npos) return Wrong("has brackets around what is no IPv6 address");
  } else if (std::count(text.begin(), text.end(), ':') > 1) {
    return Wrong("has an IPv6 address without brackets, or two ports");
  } else {
    const size_t colon = std::min(text.find(':'), text.size());
    proxy.host = text.substr(0, colon);
    port = text.substr(colon);
  }
  const bool odd = std::any_of(proxy.host.begin(), proxy.host.end(), [](unsigned char c) {
    return c <= ' ' || c == 0x7f || c == '/' || c == '@' || c == '[' || c == ']' || c == '?' || c == '#';
  });
  if (proxy.host.empty() || odd || proxy.host.size() > kFieldBytesMax) return Wrong("has no host");
  if (port.empty()) return absl::OkStatus();
  if (port[0] != ':') return Wrong("has something behind the ]");
  const char* end = port.data() + port.size();
  const auto [stop, error] = std::from_chars(port.data() + 1, end, proxy.port);
  if (error != std::errc() || stop != end || proxy.port == 0) return Wrong("has a port that is not 1 to 65535");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Proxy> ParseProxy(std::string_view url) {
  Proxy proxy;
  if (url.starts_with("socks5://")) {
    url.remove_prefix(9);
  } else if (url.starts_with("socks5h://")) {
    url.remove_prefix(10);
    proxy.resolves = true;
  } else {
    return Wrong("is no proxy that imapmesh knows");
  }
  if (url.ends_with('/')) url.remove_suffix(1);
  if (const size_t at = url.rfind('@'); at != std::string_view::npos) {
    RETURN_IF_ERROR(ReadLogin(url.substr(0, at), proxy));
    url.remove_prefix(at + 1);
  }
  RETURN_IF_ERROR(ReadHost(url, proxy));
  return proxy;
}

}  // namespace imapmesh
