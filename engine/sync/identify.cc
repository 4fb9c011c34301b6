#include "engine/sync/identify.h"

#include <openssl/evp.h>

#include <algorithm>
#include <string>

namespace imapmesh {
namespace {

bool IsExact(const Arrival& arrival, const Candidate& candidate) {
  return arrival.size == candidate.size && arrival.internal_date == candidate.internal_date;
}

}  // namespace

Identification Identify(const Arrival& arrival, const std::vector<Candidate>& candidates) {
  std::vector<const Candidate*> free;
  for (const Candidate& candidate : candidates) {
    if (candidate.free) free.push_back(&candidate);
  }
  if (free.empty()) return {};

  const bool certain = free.size() == 1 && IsExact(arrival, *free[0]) && arrival.has_message_id && !arrival.has_twin;
  if (certain) return {Identification::Verdict::kMatch, free[0]->message, {}};

  // What can be fetched nowhere, unread, can never be compared. Where it is looked for, the one that looks the same is
  // it; else the arrival is a message of its own.
  const auto incomparable = [](const Candidate* candidate) { return !candidate->content && !candidate->obtainable; };
  std::erase_if(free, [&](const Candidate* candidate) { return incomparable(candidate) && !candidate->lost_here; });
  const bool found_again = free.size() == 1 && incomparable(free[0]) && IsExact(arrival, *free[0]) && !arrival.has_twin;
  if (found_again) return {Identification::Verdict::kMatch, free[0]->message, {}};
  std::erase_if(free, incomparable);
  if (free.empty()) return {};

  Identification need{Identification::Verdict::kNeedContent, MessageId(), {}};
  for (const Candidate* candidate : free) {
    if (!candidate->content) need.need_content.push_back(candidate->message);
  }
  if (!arrival.content || !need.need_content.empty()) return need;

  // Equal messages are told apart by their order alone; an exact one goes first.
  std::stable_sort(free.begin(), free.end(), [&](const Candidate* a, const Candidate* b) {
    if (IsExact(arrival, *a) != IsExact(arrival, *b)) return IsExact(arrival, *a);
    return a->message < b->message;
  });
  for (const Candidate* candidate : free) {
    if (*candidate->content == *arrival.content) {
      return {Identification::Verdict::kMatch, candidate->message, {}};
    }
  }
  return {};
}

ContentDigest::ContentDigest() : context_(EVP_MD_CTX_new()) {
  EVP_DigestInit_ex(static_cast<EVP_MD_CTX*>(context_), EVP_sha256(), nullptr);
}

ContentDigest::~ContentDigest() {
  EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(context_));
}

void ContentDigest::Add(std::string_view bytes) {
  std::string normal;
  normal.reserve(bytes.size() + 64);
  for (const char c : bytes) {
    if (c == '\n' && !after_return_) normal.push_back('\r');
    normal.push_back(c == '\0' ? static_cast<char>(0x80) : c);
    after_return_ = c == '\r';
  }
  EVP_DigestUpdate(static_cast<EVP_MD_CTX*>(context_), normal.data(), normal.size());
}

Digest ContentDigest::Finish() {
  unsigned char full[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  EVP_DigestFinal_ex(static_cast<EVP_MD_CTX*>(context_), full, &length);
  Digest digest;
  std::copy_n(full, digest.size(), digest.begin());
  return digest;
}

}  // namespace imapmesh
