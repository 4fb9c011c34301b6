#include "migrate/mbsync_state.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>

#include "base/printable.h"
#include "engine/replica/mailbox_names.h"

namespace imapmesh {
namespace {

namespace fs = std::filesystem;

constexpr uintmax_t kStateBytesMax = 1'000'000'000;
constexpr size_t kFilesMax = 100'000;
constexpr size_t kOldSkipped = 4294967295;  // what versions before 1.3 wrote for "none"

// A number at the front, and the blank behind it.
std::optional<uint32_t> TakeNumber(std::string_view& text) {
  uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  if (!text.empty() && text[0] != ' ') return std::nullopt;
  if (!text.empty()) text.remove_prefix(1);
  return number;
}

class StateParser {
 public:
  // False: the line is not understood.
  bool Line(std::string_view line) {
    if (!in_header_) return Entry(line);
    if (line.empty()) {
      in_header_ = false;
      return state_.far.value != 0 && state_.near.value != 0;
    }
    const size_t blank = line.find(' ');
    if (blank == std::string_view::npos) return false;
    const std::string_view key = line.substr(0, blank);
    std::string_view rest = line.substr(blank + 1);
    const auto number = TakeNumber(rest);
    if (!number) return false;
    if (key == "FarUidValidity" || key == "MasterUidValidity") state_.far = UidValidity(*number);
    if (key == "NearUidValidity" || key == "SlaveUidValidity") state_.near = UidValidity(*number);
    return key.starts_with("Max") || key.ends_with("UidValidity");
  }

  bool complete() const { return !in_header_; }
  MbsyncState Take() { return std::move(state_); }

 private:
  bool Entry(std::string_view line) {
    const auto far = TakeNumber(line);
    const auto near = far ? TakeNumber(line) : std::nullopt;
    if (!near || state_.uids.size() == kImportedPairsMax) return false;
    const bool placeholder = line.starts_with('<') || line.starts_with('>');
    const bool one_side = *far == 0 || *near == 0 || *far == kOldSkipped || *near == kOldSkipped;
    if (placeholder) {
      ++state_.placeholders;
    } else if (one_side) {
      ++state_.one_sided;
    } else {
      state_.uids.emplace_back(Uid(*far), Uid(*near));
    }
    return true;
  }

  MbsyncState state_;
  bool in_header_ = true;
};

// The reverse of what mbsync does to a mailbox's name in a file's: "/" became "!".
std::string BoxOf(std::string_view text) {
  std::string box(text);
  std::replace(box.begin(), box.end(), '!', '/');
  return box;
}

class Finder {
 public:
  explicit Finder(const MbsyncStateSource& source, MbsyncStates& into) : source_(source), into_(into) {}

  void Run() {
    const size_t slash = source_.path.rfind('/');
    if (slash == std::string::npos) return;
    const fs::path folder = source_.path.substr(0, slash + 1);
    const std::string begin = source_.path.substr(slash + 1);
    std::error_code error;
    std::vector<fs::path> files;
    for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
      const std::string name = entry->path().filename();
      if (!name.starts_with(begin) || files.size() == kFilesMax) continue;
      if (entry->path().extension() == ".lock" || entry->path().extension() == ".new") continue;
      files.push_back(entry->path());
    }
    std::sort(files.begin(), files.end());
    for (const fs::path& file : files) {
      const auto pair = Names(file.filename().string().substr(begin.size()));
      if (pair && std::find(files.begin(), files.end(), file.string() + ".journal") != files.end()) {
        Warn(file,
             "a run of mbsync was interrupted; run mbsync once more before the import, or this mailbox's mail is "
             "recognised by its headers");
      } else if (pair) {
        Read(file, *pair);
      }
    }
  }

 private:
  void Warn(const fs::path& file, std::string_view text) {
    into_.warnings.push_back(Printable(file.string(), 2000) + ": " + std::string(text));
  }

  // Both sides' local names of the mailbox that a file is about; nullopt for another channel's file.
  std::optional<std::pair<std::string, std::string>> Names(const std::string& rest) const {
    if (rest.ends_with(".journal")) return std::nullopt;
    std::string near = rest;
    if (source_.names_both_ends) {
      const std::string d(1, source_.delimiter);
      const std::string before = d + source_.far.store + d, between = "_" + d + source_.near.store + d;
      const size_t at = rest.find(between);
      if (!rest.starts_with(before) || at == std::string::npos) return std::nullopt;
      near = rest.substr(at + between.size());
    }
    near = BoxOf(near);
    if (!source_.patterns) {
      if (near != source_.near.box) return std::nullopt;
      return std::make_pair(source_.mailbox, source_.mailbox);
    }
    if (!near.starts_with(source_.near.box)) return std::nullopt;
    const MailboxNames names("/", "", {});
    const auto name = names.LocalName(std::string_view(near).substr(source_.near.box.size()));
    if (!name) return std::nullopt;
    return std::make_pair(*name, *name);
  }

  void Read(const fs::path& path, const std::pair<std::string, std::string>& names) {
    std::error_code error;
    const uintmax_t size = fs::file_size(path, error);
    std::ifstream file(path, std::ios::binary);
    if (error || !file || size > kStateBytesMax) {
      Warn(path, "cannot be read; this mailbox's mail is recognised by its headers");
      return;
    }
    const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    auto state = ParseMbsyncState(text, path.string());
    if (!state.ok()) {
      into_.warnings.push_back(Message(state.status()));
      return;
    }
    if (state->one_sided > 0) {
      Warn(path,
           absl::StrFormat("%d messages are on one side only; they are copied to the other where the edge carries "
                           "them",
                           state->one_sided));
    }
    if (state->placeholders > 0) {
      Warn(path,
           absl::StrFormat("%d messages are placeholders on one side (MaxSize) and would become messages of their "
                           "own; have mbsync fill them in first (MaxSize 0, Sync ReNew)",
                           state->placeholders));
    }
    MailboxPair pair;
    pair.a = {source_.far.replica, names.first, state->far};
    pair.b = {source_.near.replica, names.second, state->near};
    pair.uids = std::move(state->uids);
    into_.pairs.push_back(std::move(pair));
  }

  const MbsyncStateSource& source_;
  MbsyncStates& into_;
};

}  // namespace

absl::StatusOr<MbsyncState> ParseMbsyncState(std::string_view text, std::string_view file) {
  StateParser parser;
  int number = 1;
  for (; !text.empty(); ++number) {
    const size_t end = text.find('\n');
    if (end == std::string_view::npos || !parser.Line(text.substr(0, end))) break;
    text.remove_prefix(end + 1);
  }
  if (!text.empty() || !parser.complete()) {
    return Error(absl::StatusCode::kInvalidArgument,
                 "%s:%d: is not as mbsync writes it; this mailbox's mail is recognised by its headers",
                 Printable(file, 2000), number);
  }
  return parser.Take();
}

MbsyncStates FindMbsyncStates(const std::vector<MbsyncStateSource>& sources) {
  MbsyncStates found;
  for (const MbsyncStateSource& source : sources) Finder(source, found).Run();
  return found;
}

}  // namespace imapmesh
