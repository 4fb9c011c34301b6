#include "rpc/import_commands.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <sstream>
#include <utility>
#include <vector>

#include "base/printable.h"
#include "graph/load.h"
#include "migrate/draft.h"
#include "migrate/imported_state.h"
#include "migrate/interimap_config.h"
#include "migrate/interimap_database.h"
#include "migrate/interimap_topology.h"
#include "migrate/mbsync_config.h"
#include "migrate/mbsync_state.h"
#include "migrate/mbsync_topology.h"
#include "migrate/notes.h"
#include "rpc/exit_codes.h"
#include "rpc/json.h"
#include "rpc/paths.h"
#include "rpc/state_lock.h"

namespace imapmesh {
namespace {

namespace fs = std::filesystem;

absl::StatusOr<std::string> ReadConfig(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::error_code ignored;
  if (!file || fs::is_directory(path, ignored)) {
    return Error(absl::StatusCode::kInvalidArgument, "%s: cannot be read; name the configuration file", path);
  }
  std::string text(kForeignConfigBytesMax + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  return text;
}

// Private, and never over another file.
absl::Status WriteNewFile(const std::string& path, std::string_view text) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) {
    return Error(absl::StatusCode::kPermissionDenied, "%s: cannot be written: %s", path, std::strerror(errno));
  }
  int error = 0;
  while (!text.empty() && error == 0) {
    const ssize_t written = write(fd, text.data(), text.size());
    if (written < 0 && errno != EINTR) error = errno;
    if (written > 0) text.remove_prefix(static_cast<size_t>(written));
  }
  if (close(fd) != 0 && error == 0) error = errno;
  if (error == 0) return absl::OkStatus();
  unlink(path.c_str());
  return Error(absl::StatusCode::kPermissionDenied, "%s: cannot be written: %s", path, std::strerror(error));
}

std::vector<std::string> Lines(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(Printable(line, 4000));
  return lines;
}

std::string JsonList(const std::vector<std::string>& texts) {
  std::string list = "[";
  for (const std::string& text : texts) list += (list.size() > 1 ? "," : "") + JsonString(text);
  return list + "]";
}

// What was read, and how it is carried out: the same for every tool.
class Import {
 public:
  Import(const ImportOptions& options, std::string tool, std::ostream& out, std::ostream& error)
      : options_(options), tool_(std::move(tool)), out_(out), error_(error) {}

  Draft draft;
  std::vector<std::string> warnings;
  std::optional<std::vector<MailboxPair>> pairs;  // nullopt: no state is taken over

  std::string Name() const {
    if (!options_.name.empty()) return options_.name;
    std::string stem = fs::path(options_.config).stem().string();
    if (stem == "config" || stem == ".mbsyncrc") stem = tool_;
    return TopologyName(stem, tool_);
  }

  int Refuse(const absl::Status& status) {
    const std::vector<std::string> errors = Lines(Message(status));
    if (options_.json) {
      out_ << R"({"errors":)" << JsonList(errors) << R"(,"warnings":)" << JsonList(warnings) << "}\n";
    } else {
      for (const std::string& warning : warnings) error_ << "warning: " << Printable(warning, 4000) << "\n";
      for (const std::string& line : errors) error_ << line << "\n";
    }
    return absl::IsInvalidArgument(status) ? kExitUsage : kExitFailed;
  }

  int Finish() {
    const absl::Status done = Carry();
    if (!done.ok()) return Refuse(done);
    Report();
    return kExitDone;
  }

 private:
  absl::Status Carry() {
    ASSIGN_OR_RETURN(const std::string folder, PlacePasswords());
    text_ =
        TopologyText(draft, {"Made by imapmesh import-" + tool_ + " from " + fs::absolute(options_.config).string()});
    const auto loaded = LoadTopologyText(text_, options_.output.empty() ? "the topology" : options_.output, folder);
    if (!loaded.ok()) return loaded.status();
    warnings.insert(warnings.end(), loaded->warnings.begin(), loaded->warnings.end());
    std::error_code ignored;
    if (!options_.output.empty() && fs::exists(options_.output, ignored)) {
      return Error(absl::StatusCode::kInvalidArgument, "%s: exists already; choose another name with --output",
                   options_.output);
    }
    RETURN_IF_ERROR(WriteState());
    for (const auto& [path, password] : files_) {
      RETURN_IF_ERROR(WriteNewFile(path, password + "\n"));
      written_.push_back(path);
    }
    if (options_.output.empty()) return absl::OkStatus();
    RETURN_IF_ERROR(WriteNewFile(options_.output, text_));
    written_.push_back(options_.output);
    return absl::OkStatus();
  }

  // Beside the topology's file; where that is printed, in the user's own folder. Returns the topology's folder.
  absl::StatusOr<std::string> PlacePasswords() {
    const bool printed = options_.output.empty();
    const fs::path beside = fs::absolute(printed ? "." : options_.output);
    const std::string folder = (printed ? beside : beside.parent_path()).string();
    if (draft.passwords.empty()) return folder;
    std::string there = folder;
    if (printed) {
      ASSIGN_OR_RETURN(there, DefaultConfigFolder());
    }
    for (v1::Replica& replica : *draft.topology.mutable_replica()) {
      const auto password = draft.passwords.find(replica.name());
      if (password == draft.passwords.end()) continue;
      const std::string name = draft.topology.name() + "-" + replica.name() + ".password";
      const std::string path = there + "/" + name;
      replica.mutable_auth()->set_password_file(printed ? path : name);
      std::ifstream present(path);
      std::string line;
      if (!present) {
        files_[path] = password->second;
      } else if (!std::getline(present, line) || line != password->second) {
        return Error(absl::StatusCode::kInvalidArgument,
                     "%s: exists already and holds another password than %s; remove it, or choose another --name", path,
                     options_.config);
      }
    }
    if (printed && !files_.empty()) fs::create_directories(there);
    return folder;
  }

  absl::Status WriteState() {
    if (!pairs) return absl::OkStatus();
    state_ = options_.state;
    if (state_.empty()) {
      ASSIGN_OR_RETURN(state_, DefaultStatePath(draft.topology.name()));
    }
    ASSIGN_OR_RETURN(const auto lock, StateLock::Take(state_));
    ASSIGN_OR_RETURN(messages_, WriteImportedState(state_, *pairs));
    return absl::OkStatus();
  }

  void Report() {
    const size_t mailboxes = pairs ? pairs->size() : 0;
    if (options_.json) {
      out_ << R"({"topology":)" << JsonString(text_) << R"(,"state":)" << JsonString(state_) << R"(,"mailboxes":)"
           << mailboxes << R"(,"messages":)" << messages_ << R"(,"written":)" << JsonList(written_)
           << R"(,"errors":[],"warnings":)" << JsonList(warnings) << "}\n";
      return;
    }
    for (const std::string& warning : warnings) error_ << "warning: " << Printable(warning, 4000) << "\n";
    for (const std::string& path : written_) error_ << "wrote " << Printable(path, 4000) << "\n";
    if (pairs) {
      error_ << "wrote " << Printable(state_, 4000) << ": " << messages_ << " messages in " << mailboxes
             << " mailboxes that both sides hold\n";
    }
    if (options_.output.empty()) out_ << text_;
  }

  const ImportOptions& options_;
  const std::string tool_;
  std::ostream& out_;
  std::ostream& error_;
  std::map<std::string, std::string> files_;  // passwords, by path
  std::vector<std::string> written_;
  std::string text_;
  std::string state_;
  int64_t messages_ = 0;
};

}  // namespace

int ImportInterimap(const ImportOptions& options, std::ostream& out, std::ostream& error) {
  Import import(options, "interimap", out, error);
  const auto text = ReadConfig(options.config);
  if (!text.ok()) return import.Refuse(text.status());
  std::vector<std::string> mailboxes;
  if (!options.database.empty()) {
    auto pairs = ReadInterimapDatabase(options.database);
    if (!pairs.ok()) return import.Refuse(pairs.status());
    for (const MailboxPair& pair : *pairs) mailboxes.push_back(pair.a.mailbox);
    import.pairs = *std::move(pairs);
  }
  Notes notes(options.config);
  const InterimapConfig config = ParseInterimapConfig(*text, notes);
  if (notes.ok()) {
    import.draft = InterimapTopology(config, import.Name(), import.pairs.has_value(), mailboxes, notes);
  }
  import.warnings = notes.warnings();
  if (!notes.ok()) return import.Refuse(notes.status());
  return import.Finish();
}

int ImportMbsync(const ImportOptions& options, std::ostream& out, std::ostream& error) {
  Import import(options, "mbsync", out, error);
  const auto text = ReadConfig(options.config);
  if (!text.ok()) return import.Refuse(text.status());
  Notes notes(options.config);
  const MbsyncConfig config = ParseMbsyncConfig(*text, notes);
  MbsyncDraft made;
  const char* home = std::getenv("HOME");
  if (notes.ok()) made = MbsyncTopology(config, import.Name(), home == nullptr ? "" : home, notes);
  import.warnings = notes.warnings();
  if (!notes.ok()) return import.Refuse(notes.status());
  import.draft = std::move(made.draft);
  MbsyncStates states = FindMbsyncStates(made.states);
  import.warnings.insert(import.warnings.end(), states.warnings.begin(), states.warnings.end());
  if (!states.pairs.empty()) import.pairs = std::move(states.pairs);
  return import.Finish();
}

}  // namespace imapmesh
