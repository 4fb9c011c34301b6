#include "engine/net/deflate.h"

#include <zlib.h>

#include <array>
#include <string>
#include <utility>

namespace imapmesh {
namespace {

constexpr int kRawWindow = -15;
constexpr int kMemory = 8;  // 256 kB a connection; at 9 it would be half as much again, for nothing

class DeflateStream : public ByteStream {
 public:
  DeflateStream(std::unique_ptr<ByteStream> below, int level) : below_(std::move(below)) {
    deflateInit2(&out_, level, Z_DEFLATED, kRawWindow, kMemory, Z_DEFAULT_STRATEGY);
    inflateInit2(&in_, kRawWindow);
  }
  ~DeflateStream() override {
    deflateEnd(&out_);
    inflateEnd(&in_);
  }

  asio::awaitable<absl::StatusOr<size_t>> Read(std::span<char> into) override {
    in_.next_out = reinterpret_cast<Bytef*>(into.data());
    in_.avail_out = static_cast<uInt>(into.size());
    while (true) {
      // Output may be left from the last input: inflate first, read only when it wants more.
      const int code = inflate(&in_, Z_SYNC_FLUSH);
      const size_t produced = into.size() - in_.avail_out;
      if (produced > 0) co_return produced;
      if (code == Z_STREAM_END) co_return size_t{0};
      if (code != Z_OK && code != Z_BUF_ERROR) {
        co_return Error(absl::StatusCode::kDataLoss, "what the server sent under COMPRESS is no deflate stream");
      }
      std::span<char> raw(compressed_);
      const absl::StatusOr<size_t> count = co_await below_->Read(raw);
      if (!count.ok() || *count == 0) co_return count;
      in_.next_in = reinterpret_cast<Bytef*>(compressed_.data());
      in_.avail_in = static_cast<uInt>(*count);
    }
  }

  asio::awaitable<absl::Status> Write(std::string_view bytes) override { co_return co_await Compress(bytes, true); }

  asio::awaitable<absl::Status> WriteParts(std::span<const std::string_view> parts) override {
    for (const std::string_view& part : parts) CO_RETURN_IF_ERROR(co_await Compress(part, &part == &parts.back()));
    co_return absl::OkStatus();
  }
  void Close() override { below_->Close(); }
  uint64_t bytes_sent() const override { return below_->bytes_sent(); }
  uint64_t bytes_received() const override { return below_->bytes_received(); }

 private:
  // What has not been flushed may stay here.
  asio::awaitable<absl::Status> Compress(std::string_view bytes, bool flush) {
    out_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
    out_.avail_in = static_cast<uInt>(bytes.size());
    std::array<char, 16384> chunk;
    do {
      out_.next_out = reinterpret_cast<Bytef*>(chunk.data());
      out_.avail_out = chunk.size();
      deflate(&out_, flush ? Z_SYNC_FLUSH : Z_NO_FLUSH);
      const std::string_view ready(chunk.data(), chunk.size() - out_.avail_out);
      if (ready.empty()) break;
      CO_RETURN_IF_ERROR(co_await below_->Write(ready));
    } while (out_.avail_out == 0);
    co_return absl::OkStatus();
  }

  std::unique_ptr<ByteStream> below_;
  z_stream out_{};
  z_stream in_{};
  std::array<char, 16384> compressed_;
};

}  // namespace

std::unique_ptr<ByteStream> MakeDeflateStream(std::unique_ptr<ByteStream> below, int level) {
  return std::make_unique<DeflateStream>(std::move(below), level);
}

}  // namespace imapmesh
