#include "engine/replica/imap_fetch.h"

#include <utility>

#include "engine/imap/commands.h"
#include "engine/replica/imap_change.h"
#include "engine/replica/imap_expunge.h"

namespace imapmesh {
namespace {

constexpr size_t kPipelinedBytes = 32 * 1024;  // of commands that are sent before an answer is awaited

class Fetches {
 public:
  Fetches(imap::Session& session, std::vector<FetchRequest> requests,
          std::function<void(size_t, Uid, std::shared_ptr<const Body>)> take, uint64_t& selected)
      : session_(session), requests_(std::move(requests)), take_(std::move(take)), selected_(selected) {}

  asio::awaitable<std::vector<absl::Status>> Run() {
    std::vector<absl::Status> outcomes(requests_.size());
    size_t first = 0;
    if (IsSelected(0)) {
      outcomes[0] = co_await FetchSelected();
      first = 1;
    }
    for (size_t next = first; first < requests_.size(); first = next) {
      std::vector<absl::StatusOr<imap::SentSelect>> selects;
      std::vector<imap::SentForUids> fetches;
      for (size_t bytes = 0; next < requests_.size() && bytes < kPipelinedBytes; ++next) {
        bytes += 100 + requests_[next].mailbox_raw.size() + requests_[next].uids.ToString().size();
        ++selected_;
        imap::SelectRequest select(requests_[next].mailbox_raw);
        selects.push_back(imap::SendSelect(session_, std::move(select)));
        fetches.push_back(imap::SendFetchBodies(session_, requests_[next].uids));
      }
      for (size_t i = first; i < next; ++i) {
        outcomes[i] = co_await Await(i, std::move(selects[i - first]), std::move(fetches[i - first]));
      }
    }
    co_return outcomes;
  }

 private:
  bool IsSelected(size_t i) const {
    const UidValidity wanted = requests_[i].mailbox.uid_validity;
    const bool same = wanted.value == 0 || session_.selected_validity() == wanted;
    return same && session_.selected() == requests_[i].mailbox_raw;
  }

  // The view may not show yet what another connection added: when something is missing NOOP brings it up to date (RFC
  // 3501 section 6.1.2).
  asio::awaitable<absl::Status> FetchSelected() {
    UidSet taken;
    const auto take = Taking(0);
    const std::function<absl::Status(Uid, std::shared_ptr<const Body>)> count = [&](Uid uid,
                                                                                    std::shared_ptr<const Body> body) {
      taken.Add(uid);
      return take(uid, std::move(body));
    };
    CO_RETURN_IF_ERROR(co_await imap::FetchBodies(session_, requests_[0].uids, count));
    const UidSet missing = Without(requests_[0].uids, taken);
    if (missing.empty()) co_return absl::OkStatus();
    CO_RETURN_IF_ERROR(co_await imap::Noop(session_));
    co_return co_await imap::FetchBodies(session_, missing, take);
  }

  asio::awaitable<absl::Status> Await(size_t i, absl::StatusOr<imap::SentSelect> select, imap::SentForUids fetch) {
    absl::Status entered = select.status();
    if (select.ok()) {
      const auto selected = co_await imap::AwaitSelect(session_, *std::move(select));
      entered = selected.status();
      if (selected.ok()) entered = CheckValidity(requests_[i].mailbox, selected->uid_validity);
    }
    std::function<absl::Status(Uid, std::shared_ptr<const Body>)> take;
    if (entered.ok()) take = Taking(i);  // what was fetched behind another is not what was wanted
    const absl::Status fetched =
        co_await imap::AwaitFetchBodies(session_, std::move(fetch), requests_[i].uids, std::move(take));
    co_return entered.ok() ? fetched : entered;
  }

  std::function<absl::Status(Uid, std::shared_ptr<const Body>)> Taking(size_t i) {
    return [this, i](Uid uid, std::shared_ptr<const Body> body) {
      take_(i, uid, std::move(body));
      return absl::OkStatus();
    };
  }

  imap::Session& session_;
  std::vector<FetchRequest> requests_;
  std::function<void(size_t, Uid, std::shared_ptr<const Body>)> take_;
  uint64_t& selected_;
};

}  // namespace

asio::awaitable<std::vector<absl::Status>> FetchMailboxes(
    imap::Session& session, std::vector<FetchRequest> requests,
    std::function<void(size_t, Uid, std::shared_ptr<const Body>)> take, uint64_t& selected) {
  Fetches fetches(session, std::move(requests), std::move(take), selected);
  co_return co_await fetches.Run();
}

}  // namespace imapmesh
