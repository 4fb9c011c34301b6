// Bodies that come along with the first look into a replica's mailboxes, on their way to others that hold nothing.
//
// What is in a mailbox that nobody else has is wanted elsewhere as it is, so the look brings the messages themselves
// and not only what they are known by: each is read once at its server instead of twice. Identification, recording and
// planning come before any addition as always; only the body is at hand then. It is kept until an addition takes it,
// and no more is looked at before there is room again. Whatever is left out here costs a fetch and nothing else.
// Observe.cc puts bodies in, apply_appends.cc takes them out. Engine thread only.
#ifndef IMAPMESH_ENGINE_SYNC_CARRY_H_
#define IMAPMESH_ENGINE_SYNC_CARRY_H_

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "base/ids.h"
#include "engine/net/body.h"
#include "engine/net/clock.h"
#include "engine/replica/replica.h"
#include "engine/store/state.h"

namespace imapmesh {

class Mesh;

// Where a body was read. Not the message's id in the state: that may be given again.
struct BodyPlace {
  MailboxCopyId mailbox_copy;
  UidValidity uid_validity;
  Uid uid;
  auto operator<=>(const BodyPlace&) const = default;
};

class CarriedBodies {
 public:
  static constexpr uint64_t kMost = 16 * 1024 * 1024;
  static constexpr uint64_t kLooks = 4;

  // What one look into one mailbox copy may bring; held while it is under way.
  class Share {
   public:
    explicit Share(CarriedBodies& bodies) : bodies_(bodies), granted_(bodies.shares_ < kLooks && !bodies.full_) {
      bodies_.shares_ += granted_;
    }
    ~Share() { bodies_.shares_ -= granted_; }
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;
    uint64_t bytes() const { return granted_ ? bodies_.most_ / kLooks : 0; }

   private:
    CarriedBodies& bodies_;
    const bool granted_;
  };

  // Bodies wait here with about `most` bytes, and at most as many come by the looks that are under way.
  explicit CarriedBodies(uint64_t most = kMost) : most_(most) {}
  void Put(const BodyPlace& place, const ArrivedMessage& arrived, Duration now);
  // Null where there is none, or another message's.
  std::shared_ptr<const Body> Take(const BodyPlace& place, const MessageRegisters& message, Duration now);
  // Whether looks may bring more: once there was enough, not before half of it was taken.
  bool HasRoom() const { return !full_; }
  // Engine time from which on looks go on without bodies, as nobody takes any.
  Duration PatienceEnds() const;
  // A pass begins, and has been completed: what was there before it, and was not taken by it, is wanted nowhere. True
  // when there was any.
  void BeginPass() { first_of_pass_ = next_; }
  bool EndPass();
  void Clear();

 private:
  struct Entry {
    uint64_t number = 0;  // ascending
    Digest identity{};
    uint64_t size = 0;
    std::shared_ptr<const Body> body;
  };

  void Measure();

  uint64_t most_;
  std::map<BodyPlace, Entry> bodies_;
  uint64_t bytes_ = 0;
  uint64_t shares_ = 0;
  uint64_t next_ = 0;
  uint64_t first_of_pass_ = 0;
  bool full_ = false;
  Duration last_change_{0};
};

// Whether nothing is known of what the replica holds. Later a new mailbox is filled mostly by moving what the others
// have already.
bool IsFirstContact(const Mesh& mesh, ReplicaIndex r);

// Of the mailbox copies that are due at `r`, those that bring their bodies: at the first contact (ReplicaSlot) those of
// which all other replicas that are up hold nothing, while one of them is to get it; later those that began so.
std::set<std::pair<int32_t, std::string>> FindCarrying(const Mesh& mesh, ReplicaIndex r);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_CARRY_H_
