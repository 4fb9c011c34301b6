// A two-way stream of bytes: the seam between IMAP and every transport (TCP, unix socket, tunnel, TLS, deflate,
// memory).
//
// Transports and layers implement it (a layer owns the stream below it); engine/imap reads and writes it. It knows no
// IMAP. All calls on the engine thread; at most one Read and one Write outstanding at a time. There are no deadlines
// here: whoever waits sets an alarm that calls Close (deadline.h), since a stream that timed out is of no more use.
#ifndef IMAPMESH_ENGINE_NET_STREAM_H_
#define IMAPMESH_ENGINE_NET_STREAM_H_

#include <asio/awaitable.hpp>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"

namespace imapmesh {

class ByteStream {
 public:
  virtual ~ByteStream() = default;

  // Reads 1 to into.size() bytes. 0: the peer closed in order. kUnavailable: the connection broke or was closed here;
  // kDataLoss: the peer sent what the layer cannot accept (a broken TLS record, a deflate error).
  virtual asio::awaitable<absl::StatusOr<size_t>> Read(std::span<char> into) = 0;

  // Writes all of `bytes`, which must stay valid until it returns.
  virtual asio::awaitable<absl::Status> Write(std::string_view bytes) = 0;
  // The same with parts one behind the other. A stream that need not put them together for it overrides this.
  virtual asio::awaitable<absl::Status> WriteParts(std::span<const std::string_view> parts) {
    std::string bytes;
    for (const std::string_view part : parts) bytes += part;
    co_return co_await Write(bytes);
  }

  // Ends the connection at once; outstanding calls end with kUnavailable. Idempotent; never blocks.
  virtual void Close() = 0;

  // Bytes that crossed the transport at the bottom, without TLS (CONTRACT.md section 4, bytes_*): a transport counts
  // its own; TLS counts what passes above it; deflate asks the layer below (so the compressed size counts).
  virtual uint64_t bytes_sent() const = 0;
  virtual uint64_t bytes_received() const = 0;
};

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_NET_STREAM_H_
