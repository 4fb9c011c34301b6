// Connections that are begun before anybody asks for them: while the state is read, servers can greet already.
//
// rpc/engine_host.h begins one for each replica at the start; whoever dials that endpoint first takes it up. What
// nobody has taken up soon is given up, since a server closes a connection on which nobody logs in. Engine thread only,
// but for what is begun before that thread runs.
#ifndef IMAPMESH_ENGINE_NET_EARLY_DIALER_H_
#define IMAPMESH_ENGINE_NET_EARLY_DIALER_H_

#include <asio/any_io_executor.hpp>
#include <list>
#include <memory>

#include "engine/net/clock.h"
#include "engine/net/dialer.h"

namespace imapmesh {

class EarlyDialer : public Dialer {
 public:
  // `clock` must outlive it.
  EarlyDialer(asio::any_io_executor executor, Clock& clock, std::unique_ptr<Dialer> dialer);
  ~EarlyDialer() override;

  // Begins to connect. What becomes of it, an error too, is told to the next Dial of the same endpoint.
  void Begin(Endpoint endpoint);

  // As the dialer it was made with.
  asio::awaitable<absl::StatusOr<std::unique_ptr<ByteStream>>> Dial(Endpoint endpoint) override;

 private:
  struct Begun;

  asio::awaitable<void> Connect(std::shared_ptr<Begun> begun);
  std::shared_ptr<Begun> TakeBegun(const Endpoint& endpoint);

  asio::any_io_executor executor_;
  Clock& clock_;
  std::shared_ptr<Dialer> dialer_;  // shared with what is being connected
  std::list<std::shared_ptr<Begun>> begun_;
};

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_NET_EARLY_DIALER_H_
