// Digests of a whole message that stay the same on its way from server to server (base/digest.h, ContentIdentity).
//
// observe.cc feeds it bodies in pieces. What servers do to line ends and NUL makes no difference (Dovecot: bare LF to
// CRLF, NUL to 0x80); for the stable digest neither do header fields that are added on the way. Engine thread.
#ifndef IMAPMESH_ENGINE_SYNC_CONTENT_DIGEST_H_
#define IMAPMESH_ENGINE_SYNC_CONTENT_DIGEST_H_

#include <string>
#include <string_view>

#include "base/digest.h"

namespace imapmesh {

// SHA-256, cut to a Digest.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  void Add(std::string_view bytes);
  Digest Finish();

 private:
  void* context_;  // EVP_MD_CTX
};

class ContentDigest {
 public:
  // In pieces of any size.
  void Add(std::string_view bytes);
  ContentIdentity Finish();

 private:
  void AddStable(std::string_view normal);
  void EndHeaderLine();

  Sha256 exact_;
  Sha256 stable_;
  bool after_return_ = false;
  // The stable view: the header line by line, then the body.
  bool in_header_ = true;
  bool field_is_stable_ = true;
  std::string line_;       // of the header, as far as it has come
  std::string line_ends_;  // of the body, held back
};

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_CONTENT_DIGEST_H_
