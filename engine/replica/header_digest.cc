#include "engine/replica/header_digest.h"

#include <openssl/evp.h>

#include <algorithm>
#include <cctype>
#include <vector>

namespace imapmesh {
namespace {

constexpr size_t kMaxMessageId = 998;

bool IsSpace(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

// Runs of white space, folds among them, become one space; none at the ends. NUL counts as 0x80, as Dovecot returns it.
std::string Collapsed(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (IsSpace(c)) {
      if (!out.empty() && out.back() != ' ') out.push_back(' ');
    } else {
      out.push_back(c == '\0' ? static_cast<char>(0x80) : c);
    }
  }
  while (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

struct Field {
  std::string name;
  std::string value;
};

// Takes one field with its continuation lines off `header`; false at the end.
bool TakeField(std::string_view& header, Field& field) {
  if (header.empty()) return false;
  size_t end = 0;
  do {
    const size_t newline = header.find('\n', end);
    end = newline == std::string_view::npos ? header.size() : newline + 1;
  } while (end < header.size() && (header[end] == ' ' || header[end] == '\t'));
  const std::string_view line = header.substr(0, end);
  header.remove_prefix(end);
  const size_t colon = line.find(':');
  field = Field();
  if (colon == std::string_view::npos) {
    field.value = Collapsed(line);
    return true;
  }
  for (const char c : line.substr(0, colon)) {
    if (!IsSpace(c)) field.name.push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
  }
  field.value = Collapsed(line.substr(colon + 1));
  return true;
}

}  // namespace

HeaderIdentity IdentifyHeader(std::string_view header) {
  HeaderIdentity identity;
  std::vector<std::string> lines;
  for (Field field; TakeField(header, field);) {
    if (field.name.empty() && field.value.empty()) continue;
    if (field.name == "message-id" && !field.value.empty() && !identity.has_message_id) {
      identity.has_message_id = true;
      identity.message_id = field.value.substr(0, kMaxMessageId);
    }
    lines.push_back(field.name + ":" + field.value + "\n");
  }
  std::stable_sort(lines.begin(), lines.end());
  std::string all;
  for (const std::string& line : lines) all += line;
  unsigned char hash[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  EVP_Digest(all.data(), all.size(), hash, &length, EVP_sha256(), nullptr);
  std::copy_n(hash, identity.digest.size(), identity.digest.begin());
  return identity;
}

}  // namespace imapmesh
