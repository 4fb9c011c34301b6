#include "engine/replica/imap_expunge.h"

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "engine/imap/commands.h"

namespace imapmesh {
namespace {

// Marks `uids`, or takes the mark away again. Those left alone because they changed.
asio::awaitable<absl::StatusOr<UidSet>> Mark(imap::Session& session, UidSet uids, bool marked, ModSeq unchanged_since) {
  imap::StoreRequest store;
  store.uids = std::move(uids);
  store.add = marked;
  store.flags.push_back("\\Deleted");
  store.unchanged_since = unchanged_since;
  co_return co_await imap::StoreFlags(session, std::move(store));
}

absl::Status OthersAreMarked(const UidSet& others) {
  constexpr size_t kShown = 10;
  return Error(absl::StatusCode::kAborted,
               "the server has no UIDPLUS, and EXPUNGE would remove %d other messages that are marked \\Deleted there "
               "(UIDs %s%s); expunge them or take the mark away, then sync again",
               others.size(), UidSet(others.Take(kShown)).ToString(), others.size() > kShown ? "…" : "");
}

asio::awaitable<absl::StatusOr<ExpungeResult>> ExpungeAlone(imap::Session& session, UidSet uids,
                                                            ModSeq unchanged_since) {
  CO_ASSIGN_OR_RETURN(const UidSet before, co_await imap::UidSearchDeleted(session));
  if (const UidSet others = Without(before, uids); !others.empty()) co_return OthersAreMarked(others);
  ExpungeResult result;
  CO_ASSIGN_OR_RETURN(result.modified, co_await Mark(session, uids, true, unchanged_since));
  const UidSet doomed = Without(uids, result.modified);
  if (doomed.empty()) co_return result;
  CO_ASSIGN_OR_RETURN(UidSet shown, co_await imap::UidSearchAll(session));
  CO_ASSIGN_OR_RETURN(const UidSet marked, co_await imap::UidSearchDeleted(session));
  if (const UidSet others = Without(marked, doomed); !others.empty()) {  // marked by somebody just now
    CO_RETURN_IF_ERROR((co_await Mark(session, doomed, false, ModSeq())).status());
    co_return OthersAreMarked(others);
  }
  CO_ASSIGN_OR_RETURN(const UidSet gone, co_await imap::ExpungeMarked(session, std::move(shown)));
  result.unmeant = Without(gone, doomed);
  co_return result;
}

}  // namespace

UidSet Without(const UidSet& uids, const UidSet& excluded) {
  if (excluded.empty()) return uids;
  std::vector<Uid> rest;
  for (const Uid uid : uids.Take(SIZE_MAX)) {
    if (!excluded.Contains(uid)) rest.push_back(uid);
  }
  return UidSet(rest);
}

asio::awaitable<absl::StatusOr<ExpungeResult>> ExpungeMessages(imap::Session& session, UidSet uids,
                                                               ModSeq unchanged_since) {
  if (!session.HasCapability("UIDPLUS")) co_return co_await ExpungeAlone(session, std::move(uids), unchanged_since);
  ExpungeResult result;
  CO_ASSIGN_OR_RETURN(result.modified, co_await Mark(session, uids, true, unchanged_since));
  UidSet doomed = Without(uids, result.modified);
  if (doomed.empty()) co_return result;
  absl::StatusOr<UidSet> untold = co_await imap::UidExpunge(session, doomed);
  CO_ASSIGN_OR_RETURN(result.kept, co_await SettleExpunge(session, std::move(doomed), std::move(untold)));
  co_return result;
}

asio::awaitable<absl::StatusOr<UidSet>> SettleExpunge(imap::Session& session, UidSet doomed,
                                                      absl::StatusOr<UidSet> untold) {
  if (!untold.ok()) {
    if (session.closed().ok()) CO_RETURN_IF_ERROR((co_await Mark(session, doomed, false, ModSeq())).status());
    co_return untold.status();
  }
  std::vector<Uid> kept;
  if (untold->empty()) co_return UidSet();
  const std::function<absl::Status(imap::MessageFlags)> take = [&](imap::MessageFlags message) {
    if (untold->Contains(message.uid)) kept.push_back(message.uid);
    return absl::OkStatus();
  };
  CO_RETURN_IF_ERROR(co_await imap::FetchFlags(session, *untold, ModSeq(), take));
  if (!kept.empty()) CO_RETURN_IF_ERROR((co_await Mark(session, UidSet(kept), false, ModSeq())).status());
  co_return UidSet(kept);
}

}  // namespace imapmesh
