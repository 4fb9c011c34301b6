// A server that says what a fuzzer thinks of, for fuzz targets that speak to one.
//
// The script is what it says, whatever it is asked. A byte 0x01 in it stands for the tag of the oldest command that has
// not been answered so, 0x02 for the end of what the server says before it is asked again. One thread.
#ifndef IMAPMESH_TESTS_FUZZ_HOSTILE_SERVER_H_
#define IMAPMESH_TESTS_FUZZ_HOSTILE_SERVER_H_

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "engine/net/clock.h"
#include "engine/net/stream.h"

namespace imapmesh {

constexpr char kScriptTag = '\x01';
constexpr char kScriptPause = '\x02';

// Time stands still: whatever waits, waits for the server, which ends by closing.
class StoppedClock : public Clock {
 public:
  Duration Now() const override { return Duration(0); }
  int64_t UnixMillis() const override { return 0; }
  std::unique_ptr<Alarm> CallAfter(Duration, std::function<void()>) override { return std::make_unique<Alarm>(); }
};

class HostileServer : public ByteStream {
 public:
  // `script` is shared by the connections and outlives them; `chunk`: bytes of one read at most.
  HostileServer(std::string_view& script, size_t chunk) : script_(script), chunk_(chunk) {}

  asio::awaitable<absl::StatusOr<size_t>> Read(std::span<char> into) override {
    if (closed_) co_return absl::UnavailableError("closed");
    if (next_.empty()) Prepare();
    const size_t count = std::min({into.size(), chunk_, next_.size()});
    std::copy_n(next_.begin(), count, into.begin());
    next_.erase(0, count);
    received_ += count;
    co_return count;
  }
  asio::awaitable<absl::Status> Write(std::string_view bytes) override {
    if (closed_) co_return absl::UnavailableError("closed");
    for (size_t begin = 0; begin < bytes.size();) {
      const std::string_view line = bytes.substr(begin, bytes.find('\n', begin) - begin);
      const size_t end = line.find(' ');
      const bool tagged = end != std::string_view::npos && end > 1 && line[0] == 'A' &&
                          line.substr(1, end - 1).find_first_not_of("0123456789") == std::string_view::npos;
      if (tagged) tags_.emplace_back(line.substr(0, end));
      begin += line.size() + 1;
    }
    co_return absl::OkStatus();
  }
  void Close() override { closed_ = true; }
  uint64_t bytes_sent() const override { return 0; }
  uint64_t bytes_received() const override { return received_; }

 private:
  // What comes up to the next pause; nothing when the script is over.
  void Prepare() {
    while (next_.empty() && !script_.empty()) {
      const std::string_view part = script_.substr(0, script_.find(kScriptPause));
      script_.remove_prefix(std::min(part.size() + 1, script_.size()));
      for (const char c : part) {
        if (c != kScriptTag) {
          next_ += c;
          continue;
        }
        if (tags_.empty()) continue;
        next_ += tags_.front();
        tags_.pop_front();
      }
    }
  }

  std::string_view& script_;
  std::string next_;
  std::deque<std::string> tags_;
  size_t chunk_;
  uint64_t received_ = 0;
  bool closed_ = false;
};

// Nothing raw for a terminal.
inline void CheckPrintable(const absl::Status& status) {
  for (const char c : FromAbsl(status.message())) {
    if ((static_cast<unsigned char>(c) < 0x20 && c != '\n') || c == 0x7f) std::abort();
  }
}

}  // namespace imapmesh

#endif  // IMAPMESH_TESTS_FUZZ_HOSTILE_SERVER_H_
