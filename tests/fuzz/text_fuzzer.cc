// libFuzzer over what is decoded from single words of a server: mailbox names, sets of UIDs, dates, headers, and
// whatever is printed.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/printable.h"
#include "base/uid_set.h"
#include "engine/imap/date_time.h"
#include "engine/imap/modified_utf7.h"
#include "engine/replica/header_digest.h"
#include "engine/replica/mailbox_names.h"

namespace {

using namespace imapmesh;  // NOLINT: a program of one file

void Require(bool holds) {
  if (!holds) std::abort();
}

void CheckNames(std::string_view text) {
  if (const auto decoded = imap::DecodeModifiedUtf7(text)) Require(imap::EncodeModifiedUtf7(*decoded) == text);
  if (const auto encoded = imap::EncodeModifiedUtf7(text)) Require(imap::DecodeModifiedUtf7(*encoded) == text);
  for (const char* delimiter : {"/", ".", ""}) {
    const MailboxNames names(delimiter, "", {"shared"});
    if (const auto mesh = names.ToMesh(text)) {
      Require(!mesh->empty() && names.ToMesh(names.ToServer(*mesh)) == *mesh);
      Require(names.ToServer(*mesh) == text || mesh->starts_with("INBOX"));  // INBOX alone is the same in any case
    }
  }
}

void CheckSets(std::string_view text) {
  const auto set = UidSet::Parse(text, 4294967295u, 1000);
  if (!set) return;
  Require(!set->empty() && set->size() <= 4294967295u && set->ranges().size() <= 1000);
  Require(UidSet::Parse(set->ToString()) == set);
  UidSet rebuilt;
  for (auto range = set->ranges().rbegin(); range != set->ranges().rend(); ++range) {
    Require(range->first >= 1 && range->first <= range->last && set->Contains(Uid(range->last)));
    rebuilt.AddRange(range->last, range->first);
  }
  Require(rebuilt == *set);
  size_t bytes = 0;
  for (const std::string& piece : set->ToStrings(24)) {
    Require(piece.size() <= 24);
    bytes += piece.size() + 1;
  }
  Require(bytes == set->ToString().size() + 1);
  Require(set->Take(10).size() <= 10);
}

void CheckPrintable(std::string_view text) {
  const std::string shown = Printable(text, 100);
  Require(shown.size() < 120);
  for (const char c : shown) Require(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
  Require(Printable(shown, 200) == shown);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  CheckNames(text);
  CheckSets(text);
  CheckPrintable(text);
  if (const auto date = imap::ParseDateTime(text)) Require(imap::ParseDateTime(imap::FormatDateTime(*date)) == date);
  Require(IdentifyHeader(text).message_id.size() <= 998);
  return 0;
}
