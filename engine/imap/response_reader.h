// Cuts a server's bytes into whole responses: lines, and the literals inside them. The first of two stages; response.h
// gives the pieces a meaning.
//
// The session feeds it whatever a read returned, in any chunking; it does no I/O of its own except that the literals
// of message bodies go into a Body (memory, then a temporary file) as they stream in, so that no message is held whole
// in memory. Invariants: the same bytes give the same responses however they are cut; what is held in memory is bounded
// by ReaderLimits whatever a hostile server sends; after an error nothing more comes out. Engine thread.
#ifndef IMAPMESH_ENGINE_IMAP_RESPONSE_READER_H_
#define IMAPMESH_ENGINE_IMAP_RESPONSE_READER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "engine/net/body.h"

namespace imapmesh::imap {

struct ReaderLimits {
  size_t line_bytes_max = 8 << 20;              // of one line: SEARCH tells a million UIDs in one
  size_t response_bytes_max = 16 << 20;         // of a response's lines together
  size_t inline_literal_bytes_max = 8 << 20;    // of a response's literals that are no message bodies, together
  size_t literals_max = 10'000;                 // of one response
  size_t bodies_max = 16;                       // message bodies in one response
  uint64_t body_bytes_max = uint64_t{4} << 30;  // of the message bodies of one response, together
  size_t body_memory_bytes = 256 * 1024;        // of one message body, before it goes to a file
  std::string body_directory;                   // "" for $TMPDIR or /tmp
};

// One literal: `body` when it stood where FETCH gives message data, else `bytes`.
struct Literal {
  std::string bytes;
  std::shared_ptr<Body> body;
};

// One response: texts[0] literals[0] texts[1] … ; always one text more than literals. The texts hold neither the
// "{n}" nor the line ends.
struct RawResponse {
  std::vector<std::string> texts;
  std::vector<Literal> literals;
};

class ResponseReader {
 public:
  explicit ResponseReader(ReaderLimits limits = {});

  // Takes more bytes. They are held until Next consumes them, so feed only when Next has returned nullopt.
  void Feed(std::string_view bytes);
  // The same with the first `count` bytes of `buffer`. Where nothing is left of what came before and these are many,
  // the reader keeps the buffer instead of copying them, and leaves another one, of any size, for the next bytes.
  void Feed(std::string& buffer, size_t count);

  // The next whole response, or nullopt when more bytes are needed. kResourceExhausted: a limit was passed, or the disk
  // is full; kDataLoss: what came is no IMAP. After an error every call returns it again.
  absl::StatusOr<std::optional<RawResponse>> Next();

  // Whether bytes are waiting that no response has consumed: behind STARTTLS they are an attack.
  bool HasBufferedInput() const { return position_ < buffer_.size() || in_response(); }

 private:
  bool in_response() const { return !response_.texts.empty(); }
  absl::StatusOr<bool> Step();
  absl::StatusOr<bool> TakeLine(std::string_view line);
  absl::Status BeginLiteral(std::string_view before, uint64_t size);
  absl::Status TakeLiteralBytes();
  RawResponse Finish();

  const ReaderLimits limits_;
  std::string buffer_;
  size_t position_ = 0;   // of the first unconsumed byte in buffer_
  size_t searched_ = 0;   // up to where buffer_ is known to hold no line end
  RawResponse response_;  // what has come of the current one; texts and literals of equal number inside a literal
  bool literals_allowed_ = false;
  bool is_fetch_ = false;
  bool in_literal_ = false;
  uint64_t literal_left_ = 0;
  size_t text_bytes_ = 0;    // held in response_.texts
  size_t inline_bytes_ = 0;  // held in response_.literals, bodies apart
  size_t bodies_ = 0;
  uint64_t body_bytes_ = 0;  // announced for them
  absl::Status error_;
};

}  // namespace imapmesh::imap

#endif  // IMAPMESH_ENGINE_IMAP_RESPONSE_READER_H_
