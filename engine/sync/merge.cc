#include "engine/sync/merge.h"

#include <algorithm>

namespace imapmesh {
namespace {

bool Holds(const std::vector<FlagId>& flags, FlagId flag) {
  return std::find(flags.begin(), flags.end(), flag) != flags.end();
}

// The newest register of `flag` among the other present copies.
FlagRegister Newest(const MessageRegisters& message, MailboxCopyId except, FlagId flag) {
  FlagRegister newest{flag, false, Stamp(0)};
  for (const CopyRegisters& copy : message.copies) {
    if (copy.mailbox_copy == except || !copy.present()) continue;
    const FlagRegister candidate = copy.flags.Get(flag);
    if (candidate.stamp > newest.stamp || (candidate.set && !newest.set && candidate.stamp == newest.stamp)) {
      newest = candidate;
    }
  }
  return newest;
}

// What presence means when a copy is first seen: an addition somebody made, or, when others hold the message and
// nobody deleted it since, the same addition that they know.
Stamp ArrivalStamp(const MessageRegisters& message, MailboxCopyId here, Stamp now) {
  Stamp known(0), deleted(0);
  for (const CopyRegisters& copy : message.copies) {
    if (copy.mailbox_copy == here) {
      if (copy.presence == Presence::kAbsent) deleted = std::max(deleted, copy.stamp);
    } else if (copy.present()) {
      known = std::max(known, copy.stamp);
    } else {
      deleted = std::max(deleted, copy.stamp);
    }
  }
  return known > deleted ? known : now;
}

// First contact without a base: set flags of all sides are kept, except \Deleted, which both must have.
// With `marked` \Deleted is ours, from the way to an EXPUNGE.
void AdoptFlags(MessageRegisters& message, CopyRegisters& copy, const std::vector<FlagId>& flags, bool marked,
                const MergeContext& context) {
  const bool others = std::any_of(message.copies.begin(), message.copies.end(), [&](const CopyRegisters& other) {
    return other.mailbox_copy != copy.mailbox_copy && other.present();
  });
  for (const FlagId flag : flags) {
    const FlagRegister newest = Newest(message, copy.mailbox_copy, flag);
    if (marked && flag == context.deleted_flag) {
      copy.flags.Put(flag, true, kCarried);
      continue;
    }
    if (others && flag == context.deleted_flag && !newest.set) {
      copy.flags.Put(flag, true, Stamp(0));
      for (CopyRegisters& other : message.copies) {
        const bool lacks = other.present() && !other.flags.IsSet(flag);  // what has it is still to lose it
        if (other.mailbox_copy != copy.mailbox_copy && lacks) other.flags.Put(flag, false, context.stamp);
      }
      continue;
    }
    copy.flags.Put(flag, true, newest.set ? newest.stamp : context.stamp);
  }
  const bool tells = CanChange(context.limits, context.deleted_flag);  // by its absence
  if (others && tells && !Holds(flags, context.deleted_flag) &&
      Newest(message, copy.mailbox_copy, context.deleted_flag).set) {
    copy.flags.Put(context.deleted_flag, false, context.stamp);
  }
}

void TakeIntendedFlags(CopyRegisters& copy, const std::vector<FlagId>& flags, const Intent& intent, Stamp now) {
  for (const FlagRegister& intended : intent.flags.entries()) {
    // A flag that we sent and the server does not show stays pending; its absence is no removal by anybody.
    if (intended.set == Holds(flags, intended.flag)) copy.flags.Put(intended.flag, intended.set, intended.stamp);
  }
  for (const FlagId flag : flags) {
    if (!intent.flags.IsSet(flag)) copy.flags.Put(flag, true, intent.kind == IntentKind::kCopy ? kCarried : now);
  }
}

}  // namespace

bool IsDeletedSince(const MessageRegisters& message, const CopyRegisters& here) {
  return std::any_of(message.copies.begin(), message.copies.end(), [&](const CopyRegisters& other) {
    return other.presence == Presence::kAbsent && other.stamp > here.stamp;
  });
}

bool IsDeletedSince(const MessageRegisters& message, const CopyRegisters& here, const std::set<MailboxCopyId>& at) {
  return std::any_of(message.copies.begin(), message.copies.end(), [&](const CopyRegisters& other) {
    return other.presence == Presence::kAbsent && other.stamp > here.stamp && at.contains(other.mailbox_copy);
  });
}

bool IsPutBack(const MessageRegisters& message) {
  Stamp there(0), deleted(0);
  for (const CopyRegisters& copy : message.copies) {
    Stamp& newest = copy.present() ? there : deleted;
    newest = std::max(newest, copy.stamp);
  }
  return there > deleted;
}

bool MergeArrival(MessageRegisters& message, MailboxCopyId here, Uid uid, uint64_t guid,
                  const std::vector<FlagId>& flags, const Intent* intent, const MergeContext& context) {
  CopyRegisters* known = message.Find(here);
  if (known != nullptr && known->present()) {  // its UID was lost with the old UIDVALIDITY, or went as this one came
    // Somebody who knew of the deletion put it back: another coordinator may have carried both.
    const bool put_back = known->uid.value != 0 && IsDeletedSince(message, *known);
    if (put_back) known->stamp = context.stamp;
    known->uid = uid;
    if (guid != 0) known->guid = guid;
    return MergeFlags(*known, flags, intent, context) || put_back;
  }
  const bool ours = intent != nullptr && Adds(intent->kind);
  CopyRegisters copy;
  copy.mailbox_copy = here;
  copy.uid = uid;
  copy.guid = guid;
  copy.presence = Presence::kPresent;
  copy.stamp = ours ? intent->stamp : ArrivalStamp(message, here, context.stamp);
  if (ours) {
    TakeIntendedFlags(copy, flags, *intent, context.stamp);
  } else {
    const bool marked = intent != nullptr && intent->kind == IntentKind::kExpunge;
    AdoptFlags(message, copy, flags, marked, context);
  }
  if (known != nullptr) {
    *known = std::move(copy);
  } else {
    message.copies.push_back(std::move(copy));
  }
  return true;
}

bool MergeFlags(CopyRegisters& copy, const std::vector<FlagId>& flags, const Intent* intent,
                const MergeContext& context) {
  bool changed = false;
  const auto merge = [&](FlagId flag, bool now) {
    if (copy.flags.IsSet(flag) == now) return;
    const bool deleting = intent != nullptr && intent->kind == IntentKind::kExpunge && flag == context.deleted_flag;
    if (deleting) {  // ours, on the way to an EXPUNGE that will be tried again, or else is taken back
      copy.flags.Put(flag, now, now ? kCarried : Stamp(0));
      changed = true;
      return;
    }
    if (!now && MayHaveDropped(context.limits_before, context.limits, flag)) {  // the others keep it
      copy.flags.Put(flag, false, Stamp(0));
      changed = true;
      return;
    }
    // What we took away stands there still: the server kept nothing of it, and nobody set it.
    const bool undone =
        now && copy.flags.Get(flag).stamp > Stamp(0) && MayHaveDropped(context.limits_before, context.limits, flag);
    if (undone) {
      copy.flags.Put(flag, true, kCarried);
      changed = true;
      return;
    }
    const FlagRegister intended = intent != nullptr ? intent->flags.Get(flag) : FlagRegister{flag, !now, Stamp(0)};
    const bool ours = intended.stamp.value != 0 && intended.set == now;
    copy.flags.Put(flag, now, ours ? intended.stamp : context.stamp);
    changed = true;
  };
  for (const FlagId flag : flags) merge(flag, true);
  const std::vector<FlagRegister> recorded = copy.flags.entries();
  for (const FlagRegister& entry : recorded) {
    if (!Holds(flags, entry.flag)) merge(entry.flag, false);
  }
  return changed;
}

bool MergeVanished(CopyRegisters& copy, const Intent* intent, const MergeContext& context) {
  if (copy.presence == Presence::kAbsent) return false;
  const bool ours = intent != nullptr && intent->kind == IntentKind::kExpunge;
  copy.presence = Presence::kAbsent;
  copy.uid = Uid();
  copy.stamp = ours ? intent->stamp : context.stamp;
  return true;
}

bool BrakeHolds(int64_t vanished, int64_t known, double fraction, int64_t min_messages) {
  return known >= min_messages && static_cast<double>(vanished) > fraction * static_cast<double>(known);
}

}  // namespace imapmesh
