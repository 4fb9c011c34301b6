#include "tests/sim/defects.h"

#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <deque>
#include <utility>

namespace imapmesh::sim {
namespace {

constexpr std::array<const char*, static_cast<size_t>(Defect::kCount)> kNames = {
    "none",           "identifies nothing", "skips arrivals",   "skips deletions",
    "ignores policy", "appends nothing",    "deletes too much", "replaces flags",
    "spoils content", "forgets to record",  "forgets intents",  "expunges first"};

// Forwards everything, and gets one thing wrong.
class DefectiveReplica : public Replica {
 public:
  DefectiveReplica(Defect defect, std::unique_ptr<Replica> inner) : defect_(defect), inner_(std::move(inner)) {}

  asio::awaitable<absl::StatusOr<Observation>> Observe(std::string mailbox, MailboxCursor since,
                                                       ObserveLimits limits) override {
    co_await AddAtLast();
    absl::StatusOr<Observation> observed = co_await inner_->Observe(std::move(mailbox), since, limits);
    if (observed.ok()) Spoil(*observed);
    co_return observed;
  }

  asio::awaitable<absl::StatusOr<Appended>> Append(MailboxReference mailbox, std::vector<AppendItem> items) override {
    if (defect_ == Defect::kAppendsNothing) {
      Appended invented;
      for (size_t i = 0; i < items.size(); ++i) invented.uids.emplace_back(++last_invented_);
      co_return invented;
    }
    if (defect_ == Defect::kExpungesFirst) {
      Appended invented;
      for (size_t i = 0; i < items.size(); ++i) invented.uids.emplace_back(++last_invented_);
      late_.emplace_back(std::move(mailbox), std::move(items));
      co_return invented;
    }
    if (defect_ == Defect::kSpoilsContent) {
      for (AppendItem& item : items) item.body = OneByteMore(*item.body);
    }
    absl::StatusOr<Appended> uids = co_await inner_->Append(mailbox, std::move(items));
    if (defect_ == Defect::kForgetsToRecord && uids.ok()) co_return absl::AbortedError("forgotten");
    co_return uids;
  }

  asio::awaitable<absl::Status> StoreFlags(MailboxReference mailbox, UidSet uids, std::vector<std::string> add,
                                           std::vector<std::string> remove) override {
    if (defect_ == Defect::kReplacesFlags) {
      for (const char* flag : {"\\Seen", "\\Flagged", "\\Answered", "\\Draft", "$Forwarded", "todo"}) {
        if (std::find(add.begin(), add.end(), flag) == add.end()) remove.emplace_back(flag);
      }
    }
    co_return co_await inner_->StoreFlags(mailbox, std::move(uids), std::move(add), std::move(remove));
  }

  asio::awaitable<absl::StatusOr<ExpungeResult>> Expunge(MailboxReference mailbox, UidSet uids,
                                                         ModSeq unchanged_since) override {
    if (defect_ == Defect::kDeletesTooMuch) uids.Add(Uid(uids.ranges().back().last + 1));
    co_return co_await inner_->Expunge(mailbox, std::move(uids), unchanged_since);
  }

  const std::string& name() const override { return inner_->name(); }
  asio::awaitable<absl::StatusOr<std::vector<MailboxStatus>>> Look() override {
    co_await AddAtLast();
    co_return co_await inner_->Look();
  }
  asio::awaitable<absl::Status> FetchBodies(MailboxReference mailbox, UidSet uids,
                                            std::function<void(Uid, std::shared_ptr<const Body>)> take) override {
    return inner_->FetchBodies(std::move(mailbox), std::move(uids), std::move(take));
  }
  asio::awaitable<absl::Status> FetchHeaders(MailboxReference mailbox, UidSet uids,
                                             std::function<void(Uid, HeaderText)> take) override {
    return inner_->FetchHeaders(std::move(mailbox), std::move(uids), std::move(take));
  }
  size_t max_append() const override { return inner_->max_append(); }
  asio::awaitable<absl::StatusOr<std::vector<CopiedUid>>> CopyMessages(MailboxReference from, MailboxReference to,
                                                                       UidSet uids, bool move) override {
    if (defect_ == Defect::kExpungesFirst) return Refuse();
    return inner_->CopyMessages(std::move(from), std::move(to), std::move(uids), move);
  }
  bool can_move() const override { return defect_ != Defect::kExpungesFirst && inner_->can_move(); }
  asio::awaitable<absl::StatusOr<bool>> CreateMailbox(std::string mailbox, bool subscribe) override {
    return inner_->CreateMailbox(std::move(mailbox), subscribe);
  }
  asio::awaitable<absl::Status> Subscribe(std::string mailbox, bool subscribed) override {
    return inner_->Subscribe(std::move(mailbox), subscribed);
  }
  asio::awaitable<absl::Status> DeleteMailbox(std::string mailbox) override {
    return inner_->DeleteMailbox(std::move(mailbox));
  }
  asio::awaitable<absl::StatusOr<bool>> MailboxExists(std::string local_name) override {
    return inner_->MailboxExists(std::move(local_name));
  }
  asio::awaitable<absl::StatusOr<bool>> RenameMailbox(std::string from, std::string to,
                                                      std::vector<std::string> subscribed) override {
    return inner_->RenameMailbox(std::move(from), std::move(to), std::move(subscribed));
  }
  void SetAliases(std::map<std::string, std::string> mesh_to_local) override {
    inner_->SetAliases(std::move(mesh_to_local));
  }
  asio::awaitable<absl::Status> Watch(std::function<void(std::vector<std::string>)> due) override {
    return inner_->Watch(std::move(due));
  }
  asio::awaitable<void> KeepAlive() override { return inner_->KeepAlive(); }
  void Close() override { inner_->Close(); }
  asio::awaitable<void> Logout() override { return inner_->Logout(); }
  ReplicaCounters counters() const override { return inner_->counters(); }
  const ServerInfo& info() const override { return inner_->info(); }

 private:
  void Spoil(Observation& observation) {
    if (defect_ == Defect::kIdentifiesNothing) {
      const auto own = static_cast<uint8_t>(name().back());
      for (ArrivedMessage& arrived : observation.arrived) arrived.header_digest[0] ^= own;
    }
    if (defect_ == Defect::kSkipsArrivals && observation.arrived.size() > 1) observation.arrived.pop_back();
    if (defect_ == Defect::kSkipsDeletions) {
      observation.vanished = UidSet();
      observation.counted.reset();  // else the engine notices, and compares in full
    }
  }

  // What was said to be added already.
  asio::awaitable<void> AddAtLast() {
    while (!late_.empty()) {
      auto [mailbox, items] = std::move(late_.front());
      late_.pop_front();
      co_await inner_->Append(std::move(mailbox), std::move(items));
    }
  }

  static asio::awaitable<absl::StatusOr<std::vector<CopiedUid>>> Refuse() {
    co_return Error(absl::StatusCode::kAborted, "the server copies nothing by itself");
  }

  static std::shared_ptr<const Body> OneByteMore(const Body& body) {
    auto more = std::make_shared<Body>();
    std::string bytes(body.size(), '\0');
    const auto read = body.ReadAt(0, bytes.data(), bytes.size());
    bytes.resize(read.value_or(0));
    const absl::Status appended = more->Append(bytes + " ");
    return appended.ok() ? more : nullptr;
  }

  const Defect defect_;
  std::unique_ptr<Replica> inner_;
  std::deque<std::pair<MailboxReference, std::vector<AppendItem>>> late_;
  uint32_t last_invented_ = 1'000'000;
};

}  // namespace

const char* Name(Defect defect) {
  return kNames[static_cast<size_t>(defect)];
}

std::unique_ptr<Replica> WithDefect(Defect defect, std::unique_ptr<Replica> replica) {
  if (defect == Defect::kNone) return replica;
  return std::make_unique<DefectiveReplica>(defect, std::move(replica));
}

std::string WithoutPolicy(const std::string& edge) {
  std::string plain = edge;
  for (const char* restriction : {" direction: A_TO_B", " direction: B_TO_A", " deletes: KEEP", " flags: NONE"}) {
    const size_t at = plain.find(restriction);
    if (at != std::string::npos) plain.erase(at, std::string(restriction).size());
  }
  return plain;
}

void ForgetIntents(const std::string& state_file) {
  sqlite3* database = nullptr;
  if (sqlite3_open_v2(state_file.c_str(), &database, SQLITE_OPEN_READWRITE, nullptr) == SQLITE_OK) {
    sqlite3_exec(database,
                 "CREATE TRIGGER IF NOT EXISTS forgets AFTER INSERT ON intent BEGIN DELETE FROM intent WHERE message = "
                 "new.message AND mailbox_copy = new.mailbox_copy; END",
                 nullptr, nullptr, nullptr);
  }
  sqlite3_close(database);
}

}  // namespace imapmesh::sim
