#include "tests/sim/network.h"

#include <algorithm>
#include <utility>

#include "engine/net/signal.h"

namespace imapmesh::sim {

// One connection: both ends and what is on its way.
class Link : public std::enable_shared_from_this<Link> {
 public:
  Link(Network& network, Host& host, const SimDialer& dialer, uint64_t id)
      : network_(network),
        host_(host),
        dialer_(&dialer),
        daemon_(dialer.daemon()),
        id_(id),
        arrived_(network.time().context().get_executor()) {}

  void Open() {
    SessionHooks hooks;
    hooks.send = [this](std::string bytes) {
      Send(Direction::kToClient, network_.garble ? network_.garble(std::move(bytes)) : std::move(bytes));
    };
    hooks.hang_up = [this] { HangUp(); };
    hooks.intern = network_.intern;
    hooks.on_command = [this](const std::string& name) {
      if (network_.on_command) network_.on_command(host_.name, name);
    };
    hooks.on_added = [this](const std::string& mailbox, uint32_t uid) {
      if (network_.on_added) network_.on_added(daemon_, host_.name, mailbox, uid);
    };
    hooks.on_body = [this](const Content& content) {
      if (network_.on_body) network_.on_body(daemon_, content);
    };
    hooks.on_expunge = [this](const std::string& mailbox, const Content& content) {
      if (network_.on_expunge) network_.on_expunge(daemon_, host_.name, mailbox, content);
    };
    hooks.on_deleted_uncounted = [this](const std::string& mailbox, const Content& content) {
      if (network_.on_deleted_uncounted) network_.on_deleted_uncounted(mailbox, content);
    };
    session_ = std::make_unique<Session>(host_.account, std::move(hooks));
    session_->Greet();
  }

  // Puts bytes on their way; they arrive in order.
  void Send(Direction direction, std::string bytes) {
    if (cut_) return;
    Duration& ready = ready_[static_cast<size_t>(direction)];
    ready = std::max(ready + Duration(1), network_.time().now() + network_.DrawLatency());
    auto arrive = [link = shared_from_this(), direction, bytes = std::move(bytes)] { link->Arrive(direction, bytes); };
    network_.time().After(ready - network_.time().now(), std::move(arrive));
  }

  // The connection is gone for both ends, and with it what was on its way.
  void Cut() {
    if (cut_) return;
    cut_ = true;
    session_.reset();
    host_.links.erase(id_);
    if (network_.tap) network_.tap(daemon_, host_.name, '!', "cut");
    arrived_.Notify();
  }

  void HangUp() {
    auto end = [link = shared_from_this()] {
      link->ended_ = true;
      link->arrived_.Notify();
    };
    Duration& ready = ready_[static_cast<size_t>(Direction::kToClient)];
    ready = std::max(ready, network_.time().now()) + Duration(1);
    network_.time().After(ready - network_.time().now(), std::move(end));
  }

  // The client drops its end: half the time the server still gets what was on its way.
  void Abandon() {
    if (abandoned_) return;
    abandoned_ = true;
    arrived_.Notify();
    if (network_.random().Chance(50)) {
      Cut();
      return;
    }
    Duration& ready = ready_[static_cast<size_t>(Direction::kToServer)];
    ready = std::max(ready, network_.time().now()) + Duration(1);
    network_.time().After(ready - network_.time().now(), [link = shared_from_this()] { link->Cut(); });
  }

  asio::awaitable<absl::StatusOr<size_t>> Read(std::span<char> into) {
    const auto self = shared_from_this();
    while (inbox_.empty()) {
      if (abandoned_) co_return absl::UnavailableError("the stream was closed here");
      if (cut_) co_return absl::UnavailableError("the connection broke: reset by the peer");
      if (ended_) co_return size_t{0};
      co_await arrived_.Wait();
    }
    if (abandoned_) co_return absl::UnavailableError("the stream was closed here");
    size_t count = std::min(into.size(), inbox_.size());
    if (network_.fragments) count = 1 + network_.random().Below(count);
    std::copy_n(inbox_.begin(), count, into.begin());
    inbox_.erase(0, count);
    received += count;
    co_return count;
  }

  absl::Status Write(std::string_view bytes) {
    if (abandoned_ || cut_) return absl::UnavailableError("the connection broke: reset by the peer");
    sent += bytes.size();
    Send(Direction::kToServer, std::string(bytes));
    return absl::OkStatus();
  }

  bool hangs() const { return stalled_ && !cut_; }
  bool IsOf(const SimDialer& dialer) const { return dialer_ == &dialer; }

  uint64_t sent = 0;
  uint64_t received = 0;

 private:
  void Arrive(Direction direction, std::string_view bytes) {
    if (cut_ || stalled_) return;
    const bool stall = Spend(host_.stall_after, bytes);
    const bool cut = !stall && Spend(host_.cut_after[static_cast<size_t>(direction)], bytes);
    stalled_ |= stall;
    if (network_.tap) network_.tap(daemon_, host_.name, direction == Direction::kToServer ? 'c' : 's', bytes);
    const auto self = shared_from_this();
    if (direction == Direction::kToServer) {
      if (session_ != nullptr) session_->Receive(bytes);
    } else {
      inbox_.append(bytes);
      arrived_.Notify();
    }
    if (cut) Cut();
  }

  // Counts down to an armed fault; when it strikes, `bytes` keeps what still gets through.
  static bool Spend(int64_t& left, std::string_view& bytes) {
    if (left < 0) return false;
    const bool strikes = left <= static_cast<int64_t>(bytes.size());
    if (strikes) bytes = bytes.substr(0, static_cast<size_t>(left));
    left = strikes ? -1 : left - static_cast<int64_t>(bytes.size());
    return strikes;
  }

  Network& network_;
  Host& host_;
  const SimDialer* const dialer_;  // may be gone
  const int daemon_;
  const uint64_t id_;
  std::unique_ptr<Session> session_;
  Duration ready_[2] = {Duration(0), Duration(0)};
  std::string inbox_;
  bool cut_ = false;
  bool stalled_ = false;
  bool ended_ = false;
  bool abandoned_ = false;
  Signal arrived_;
};

namespace {

class SimStream : public ByteStream {
 public:
  explicit SimStream(std::shared_ptr<Link> link) : link_(std::move(link)) {}
  ~SimStream() override { link_->Abandon(); }
  asio::awaitable<absl::StatusOr<size_t>> Read(std::span<char> into) override { return link_->Read(into); }
  asio::awaitable<absl::Status> Write(std::string_view bytes) override { co_return link_->Write(bytes); }
  void Close() override { link_->Abandon(); }
  uint64_t bytes_sent() const override { return link_->sent; }
  uint64_t bytes_received() const override { return link_->received; }

 private:
  std::shared_ptr<Link> link_;
};

}  // namespace

Host* Network::Find(const std::string& name) {
  for (const auto& host : hosts_) {
    if (host->name == name) return host.get();
  }
  return nullptr;
}

Duration Network::DrawLatency() {
  if (slow_percent > 0 && random_.Chance(slow_percent)) return std::chrono::milliseconds(random_.Below(2000));
  return Duration(static_cast<int64_t>(random_.Below(static_cast<uint64_t>(latency_max.count()))));
}

void Network::Cut(Host* host) {
  for (const auto& each : hosts_) {
    if (host != nullptr && each.get() != host) continue;
    const auto links = each->links;
    for (const auto& [id, weak] : links) {
      if (const auto link = weak.lock()) link->Cut();
    }
  }
}

void Network::Abandon(const SimDialer& dialer) {
  for (const auto& host : hosts_) {
    const auto links = host->links;
    for (const auto& [id, weak] : links) {
      const auto link = weak.lock();
      if (link && link->IsOf(dialer)) link->Abandon();
    }
  }
}

void Network::Calm() {
  slow_percent = 0;
  for (const auto& host : hosts_) {
    host->down = false;
    host->cut_after[0] = host->cut_after[1] = host->stall_after = -1;
    const auto links = host->links;
    for (const auto& [id, weak] : links) {
      const auto link = weak.lock();
      if (link && link->hangs()) link->Cut();
    }
  }
}

asio::awaitable<absl::StatusOr<std::unique_ptr<ByteStream>>> SimDialer::Dial(Endpoint endpoint) {
  const std::string name = std::get<TunnelEndpoint>(endpoint).command;
  co_await Sleep(clock_, network_.time().context().get_executor(), network_.DrawLatency());
  Host* host = network_.Find(name);
  if (dead_ || host == nullptr || host->down) co_return absl::UnavailableError(ToAbsl("cannot connect to " + name));
  const auto link = std::make_shared<Link>(network_, *host, *this, ++network_.last_link_);
  host->links[network_.last_link_] = link;
  link->Open();
  co_return std::make_unique<SimStream>(link);
}

}  // namespace imapmesh::sim
