#include "engine/sync/content_digest.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cctype>

namespace imapmesh {
namespace {

// A header line that is longer is digested as it is: no field added on the way is.
constexpr size_t kLineBytesMax = 64 * 1024;
constexpr std::string_view kLineEnd = "\r\n";

// Whether a field is added or changed on a message's way (RFC 5321 section 4.4, RFC 6376, RFC 8601, RFC 8617) or by
// what stores it.
bool IsAddedOnTheWay(std::string_view line) {
  std::string name;
  for (const char c : line.substr(0, line.find(':'))) {
    name += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  while (!name.empty() && (name.back() == ' ' || name.back() == '\t')) name.pop_back();
  constexpr std::array<std::string_view, 15> kNames = {
      "received",      "received-spf",    "return-path",    "delivered-to",   "envelope-to",
      "delivery-date", "status",          "lines",          "content-length", "authentication-results",
      "errors-to",     "message-context", "dkim-signature", "dkim-filter",    "domainkey-signature"};
  return name.starts_with("x-") || name.starts_with("arc-") ||
         std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

}  // namespace

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  EVP_DigestInit_ex(static_cast<EVP_MD_CTX*>(context_), EVP_sha256(), nullptr);
}

Sha256::~Sha256() {
  EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(context_));
}

void Sha256::Add(std::string_view bytes) {
  EVP_DigestUpdate(static_cast<EVP_MD_CTX*>(context_), bytes.data(), bytes.size());
}

Digest Sha256::Finish() {
  unsigned char full[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  EVP_DigestFinal_ex(static_cast<EVP_MD_CTX*>(context_), full, &length);
  Digest digest;
  std::copy_n(full, digest.size(), digest.begin());
  return digest;
}

void ContentDigest::Add(std::string_view bytes) {
  std::string normal;
  normal.reserve(bytes.size() + 64);
  for (const char c : bytes) {
    if (c == '\n' && !after_return_) normal.push_back('\r');
    normal.push_back(c == '\0' ? static_cast<char>(0x80) : c);
    after_return_ = c == '\r';
  }
  exact_.Add(normal);
  AddStable(normal);
}

// `normal` has CRLF for every line end.
void ContentDigest::AddStable(std::string_view normal) {
  while (in_header_ && !normal.empty()) {
    const size_t end = normal.find('\n');
    line_ += normal.substr(0, end == std::string_view::npos ? end : end + 1);
    normal.remove_prefix(end == std::string_view::npos ? normal.size() : end + 1);
    if (line_.size() > kLineBytesMax) {
      in_header_ = false;
      stable_.Add(line_);
    } else if (line_.ends_with('\n')) {
      EndHeaderLine();
    }
  }
  // Line ends are held back until more follows: those at the very end do not count.
  while (!normal.empty()) {
    const size_t text = std::min(normal.find_first_of(kLineEnd), normal.size());
    if (text > 0 || line_ends_.size() > kLineBytesMax) {
      stable_.Add(line_ends_);
      line_ends_.clear();
    }
    stable_.Add(normal.substr(0, text));
    const size_t next = std::min(normal.find_first_not_of(kLineEnd, text), normal.size());
    line_ends_ += normal.substr(text, next - text);
    normal.remove_prefix(next);
  }
}

void ContentDigest::EndHeaderLine() {
  if (line_ == kLineEnd) {
    in_header_ = false;
    line_ends_ = kLineEnd;
    line_.clear();
    return;
  }
  const bool folded = line_[0] == ' ' || line_[0] == '\t';
  if (!folded) field_is_stable_ = !IsAddedOnTheWay(line_);
  if (field_is_stable_) stable_.Add(line_);
  line_.clear();
}

ContentIdentity ContentDigest::Finish() {
  if (in_header_ && !line_.empty()) EndHeaderLine();
  return {exact_.Finish(), stable_.Finish()};
}

}  // namespace imapmesh
