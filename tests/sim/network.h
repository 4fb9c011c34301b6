// The network between one daemon and the simulated servers: delays, cuts at any byte, stalls, servers that are down.
//
// SimDialer is the engine's Dialer; the endpoint is a tunnel whose command is the server's name. Bytes take a time that
// the seed decides, in order within a direction. A connection that the client drops may still bring the server what was
// on its way. One thread.
#ifndef IMAPMESH_TESTS_SIM_NETWORK_H_
#define IMAPMESH_TESTS_SIM_NETWORK_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/net/dialer.h"
#include "tests/sim/account.h"
#include "tests/sim/random.h"
#include "tests/sim/session.h"
#include "tests/sim/virtual_time.h"

namespace imapmesh::sim {

class Link;

enum class Direction { kToServer = 0, kToClient = 1 };

class SimDialer;

// A server as the network sees it. Faults are armed here and hit the connection that carries the fatal byte.
struct Host {
  explicit Host(std::string host_name, ServerTraits traits) : name(std::move(host_name)), account(traits) {}
  std::string name;
  Account account;
  bool down = false;                // refuses connections
  int64_t cut_after[2] = {-1, -1};  // bytes, by Direction; -1: none
  int64_t stall_after = -1;         // bytes in any direction
  std::map<uint64_t, std::weak_ptr<Link>> links;
};

class Network {
 public:
  // Everything that crosses, in order: for traces. `what` is "c" (to the server), "s", or an event.
  using Tap = std::function<void(int daemon, const std::string& host, char what, std::string_view bytes)>;

  Network(VirtualTime& time, uint64_t seed) : time_(time), random_(seed) {}
  ~Network() { Cut(nullptr); }  // connections refer to the hosts, and outlive them in the alarms of `time`
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  VirtualTime& time() { return time_; }
  std::vector<std::unique_ptr<Host>>& hosts() { return hosts_; }
  Host* Find(const std::string& name);

  Duration latency_max{std::chrono::milliseconds(2)};
  int slow_percent = 0;    // of deliveries take up to two seconds
  bool fragments = false;  // reads return what they like
  Tap tap;
  // What a server says, as it then reaches the client: for servers that lie. Given one or more whole responses.
  std::function<std::string(std::string bytes)> garble;
  std::function<std::shared_ptr<const Content>(std::string)> intern;
  std::function<void(const std::string& host, const std::string& command)> on_command;
  // A daemon added a copy to a server, or was given a body.
  std::function<void(int daemon, const std::string& host, const std::string& mailbox, uint32_t uid)> on_added;
  std::function<void(int daemon, const Content& content)> on_body;
  // A daemon is about to expunge one.
  std::function<void(int daemon, const std::string& host, const std::string& mailbox, const Content& content)>
      on_expunge;
  // A daemon is about to delete a mailbox with mail that came after it had been told that there is none.
  std::function<void(const std::string& mailbox, const Content& content)> on_deleted_uncounted;

  Duration DrawLatency();
  Random& random() { return random_; }

  // Ends every connection of a host (or of all, null) at once, as a crash of the server does.
  void Cut(Host* host);
  // The client's side of all connections of one daemon goes, as with its process.
  void Abandon(const SimDialer& dialer);
  // No faults from here on; connections that hang are cut.
  void Calm();

 private:
  friend class SimDialer;
  friend class Link;
  VirtualTime& time_;
  Random random_;
  std::vector<std::unique_ptr<Host>> hosts_;
  uint64_t last_link_ = 0;
};

// One daemon's way to the hosts. `network` and `clock` must outlive it.
class SimDialer : public Dialer {
 public:
  SimDialer(Network& network, Clock& clock, int daemon) : network_(network), clock_(clock), daemon_(daemon) {}
  asio::awaitable<absl::StatusOr<std::unique_ptr<ByteStream>>> Dial(Endpoint endpoint) override;
  // The process is gone: its connections are, and nothing connects any more.
  void Die() {
    dead_ = true;
    network_.Abandon(*this);
  }
  int daemon() const { return daemon_; }

 private:
  Network& network_;
  Clock& clock_;
  const int daemon_;
  bool dead_ = false;
};

}  // namespace imapmesh::sim

#endif  // IMAPMESH_TESTS_SIM_NETWORK_H_
