// A ByteStream over an Asio socket (TCP or unix). Used by dialer.cc and tunnel.cc. Engine thread only.
#ifndef IMAPMESH_ENGINE_NET_SOCKET_STREAM_H_
#define IMAPMESH_ENGINE_NET_SOCKET_STREAM_H_

#include <array>
#include <asio/buffer.hpp>
#include <asio/experimental/as_tuple.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/write.hpp>
#include <string>
#include <utility>
#include <vector>

#include "engine/net/stream.h"

namespace imapmesh {

template <typename Socket>
class SocketStream : public ByteStream {
 public:
  // `peer` names the other end in errors.
  SocketStream(Socket socket, std::string peer) : socket_(std::move(socket)), peer_(std::move(peer)) {}

  asio::awaitable<absl::StatusOr<size_t>> Read(std::span<char> into) override {
    auto buffer = asio::buffer(into.data(), into.size());
    auto token = asio::experimental::as_tuple(asio::use_awaitable);
    const auto [error, count] = co_await socket_.async_read_some(buffer, token);
    received_ += count;
    if (error == asio::error::eof) co_return size_t{0};
    if (error) co_return Failure(error);
    co_return count;
  }

  asio::awaitable<absl::Status> Write(std::string_view bytes) override {
    const std::array<std::string_view, 1> parts = {bytes};
    co_return co_await WriteParts(parts);
  }

  asio::awaitable<absl::Status> WriteParts(std::span<const std::string_view> parts) override {
    std::vector<asio::const_buffer> buffers;
    buffers.reserve(parts.size());
    for (const std::string_view part : parts) buffers.emplace_back(part.data(), part.size());
    auto token = asio::experimental::as_tuple(asio::use_awaitable);
    const auto [error, count] = co_await asio::async_write(socket_, buffers, token);
    sent_ += count;
    if (error) co_return Failure(error);
    co_return absl::OkStatus();
  }

  void Close() override {
    asio::error_code ignored;
    socket_.close(ignored);
  }

  uint64_t bytes_sent() const override { return sent_; }
  uint64_t bytes_received() const override { return received_; }

 private:
  absl::Status Failure(const asio::error_code& error) const {
    return Error(absl::StatusCode::kUnavailable, "the connection to %s broke: %s", peer_, error.message());
  }

  Socket socket_;
  std::string peer_;
  uint64_t sent_ = 0;
  uint64_t received_ = 0;
};

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_NET_SOCKET_STREAM_H_
