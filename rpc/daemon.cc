#include "rpc/daemon.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <asio/post.hpp>
#include <asio/signal_set.hpp>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <thread>
#include <utility>

#include "base/printable.h"
#include "rpc/engine_host.h"
#include "rpc/exit_codes.h"
#include "rpc/json.h"
#include "rpc/logging.h"
#include "rpc/paths.h"
#include "rpc/print.h"
#include "rpc/state_lock.h"
#include "rpc/translate.h"

namespace imapmesh {
namespace {

// SIGTERM promises an end within 5 s.
constexpr auto kStopPatience = std::chrono::milliseconds(4300);
constexpr auto kSettlePatience = std::chrono::milliseconds(1500);

// To standard error, whatever the log level: why there is nothing to log.
void Complain(std::string_view text) {
  while (true) {
    const size_t end = text.find('\n');
    std::fprintf(stderr, "imapmeshd: %s\n", Printable(text.substr(0, end), 4000).c_str());
    if (end == std::string_view::npos) return;
    text.remove_prefix(end + 1);
  }
}

// Whole or not at all, also when the power fails.
absl::Status WriteFileAtomically(const std::string& path, std::string_view text) {
  const std::string draft = path + ".tmp." + std::to_string(getpid());
  const auto failed = [&](int error) {
    unlink(draft.c_str());
    return Error(absl::StatusCode::kPermissionDenied, "cannot write %s: %s", path, std::strerror(error));
  };
  const int fd = open(draft.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return failed(errno);
  int error = 0;
  while (!text.empty() && error == 0) {
    const ssize_t written = write(fd, text.data(), text.size());
    if (written < 0 && errno != EINTR) error = errno;
    if (written > 0) text.remove_prefix(static_cast<size_t>(written));
  }
  if (error == 0 && fsync(fd) != 0) error = errno;
  if (close(fd) != 0 && error == 0) error = errno;
  if (error != 0) return failed(error);
  if (rename(draft.c_str(), path.c_str()) != 0) return failed(errno);
  return absl::OkStatus();
}

// The customary 1,024 are few for a large mesh with many clients.
void RaiseDescriptorLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 65'536);
  setrlimit(RLIMIT_NOFILE, &limit);
}

class Daemon {
 public:
  Daemon(DaemonOptions options, LoadedTopology topology)
      : options_(std::move(options)), name_(topology.graph->name()), topology_(std::move(topology)) {}

  int Run() {
    for (const std::string& warning : topology_.warnings) Log(LogLevel::kWarning, warning);
    const absl::Status prepared = Prepare();
    if (!prepared.ok()) {
      Complain(Message(prepared));
      return kExitFailed;
    }
    return options_.once ? RunOnce() : RunForever();
  }

 private:
  absl::Status Prepare() {
    if (options_.state_path.empty()) {
      ASSIGN_OR_RETURN(options_.state_path, DefaultStatePath(name_));
    }
    ASSIGN_OR_RETURN(lock_, StateLock::Take(options_.state_path));
    const auto log = [this](LogLevel level, const std::string& text) {
      if (display_) display_->Clear();
      Log(level, text);
    };
    ASSIGN_OR_RETURN(engine_, EngineHost::Create(topology_.graph, options_.state_path, log));
    return absl::OkStatus();
  }

  // ---- --once

  int RunOnce() {
    if (!options_.server.addresses.empty()) Log(LogLevel::kWarning, "--listen has no effect with --once");
    display_.emplace(stderr, isatty(STDERR_FILENO) != 0);
    std::optional<absl::StatusOr<RunReport>> result;
    const auto progress = [this](const Progress& now) {
      v1::SyncProgress message;
      ToProto(now, message);
      display_->Show(message);
    };
    const auto done = [this, &result](absl::StatusOr<RunReport> report) {
      display_->Clear();
      result = std::move(report);
      main_.stop();
    };
    AwaitSignals();
    engine_->RunOnce(progress, done);
    main_.run();
    const bool settled = engine_->Settle(kSettlePatience);
    const int code = Conclude(*result);
    if (!settled) Abandon(code);
    return code;
  }

  int Conclude(const absl::StatusOr<RunReport>& result) {
    if (!result.ok()) {
      Complain(Message(result.status()));
      return kExitFailed;
    }
    v1::SyncReport report;
    ToProto(*result, report);
    const std::string summary = ReportText(report);
    std::fwrite(summary.data(), 1, summary.size(), stdout);
    std::fflush(stdout);
    if (!options_.report_path.empty()) {
      const absl::Status written = WriteFileAtomically(options_.report_path, ToJson(report, JsonLayout::kIndented));
      if (!written.ok()) {
        Complain(Message(written));
        return kExitFailed;
      }
    }
    if (stopping_) {
      Complain("interrupted before the mesh converged; run it again to go on");
      return kExitFailed;
    }
    return result->ExitCode();
  }

  // ---- for ever

  int RunForever() {
    if (options_.server.addresses.empty()) {
      auto address = DefaultListenAddress(name_);
      if (!address.ok()) {
        Complain(Message(address.status()));
        return kExitFailed;
      }
      options_.server.addresses.push_back(*std::move(address));
    }
    options_.server.warn = [](const std::string& text) { Log(LogLevel::kWarning, text); };
    auto server = RpcServer::Start(options_.server, engine_->control(), [this] { return LoadAgain(); });
    if (!server.ok()) {
      Complain(Message(server.status()));
      return absl::IsInvalidArgument(server.status()) ? kExitUsage : kExitFailed;
    }
    absl::Status result;
    const auto done = [this, &result](absl::Status status) {
      result = std::move(status);
      main_.stop();
    };
    AwaitSignals();
    engine_->RunForever(done);
    for (const std::string& address : (*server)->addresses()) Log(LogLevel::kInfo, name_ + ": listening on " + address);
    main_.run();
    (*server)->Stop();
    const int code = result.ok() ? 0 : kExitFailed;
    if (!result.ok()) Log(LogLevel::kError, Message(result));
    if (!engine_->Settle(kSettlePatience)) Abandon(code);
    Log(LogLevel::kInfo, name_ + ": stopped");
    return code;
  }

  // Any thread.
  absl::StatusOr<LoadedTopology> LoadAgain() const {
    ASSIGN_OR_RETURN(auto loaded, LoadTopologyFile(options_.topology_path));
    if (loaded.graph->name() != name_) {
      return Error(absl::StatusCode::kFailedPrecondition,
                   "%s: name: the mesh that runs here is \"%s\", the file now says \"%s\"; start another daemon for it",
                   options_.topology_path, name_, loaded.graph->name());
    }
    return loaded;
  }

  void Reload() {
    const auto loaded = LoadAgain();
    if (!loaded.ok()) {
      Log(LogLevel::kError, "the topology is not reloaded, the running one stays:\n" + Message(loaded.status()));
      return;
    }
    for (const std::string& warning : loaded->warnings) Log(LogLevel::kWarning, warning);
    engine_->control().Reload(loaded->graph, [](const absl::Status& status) {
      if (status.ok()) {
        Log(LogLevel::kInfo, "the topology is reloaded");
      } else {
        Log(LogLevel::kError, "the topology is not reloaded: " + Message(status));
      }
    });
  }

  // ---- signals

  void AwaitSignals() {
    signals_.async_wait([this](const asio::error_code& error, int number) {
      if (error) return;
      OnSignal(number);
      AwaitSignals();
    });
  }

  void OnSignal(int number) {
    if (number == SIGHUP) {
      if (!options_.once) Reload();
      return;
    }
    if (stopping_) Abandon(128 + number);  // asked twice
    stopping_ = true;
    Log(LogLevel::kInfo, number == SIGINT ? "stopping (SIGINT)" : "stopping (SIGTERM)");
    const int code = options_.once ? kExitFailed : 0;
    std::thread([code] {
      std::this_thread::sleep_for(kStopPatience);
      Abandon(code);
    }).detach();
    engine_->Stop();
  }

  // The state is safe at any instant, so there is nothing to wait for.
  [[noreturn]] static void Abandon(int code) {
    std::fflush(stdout);
    std::fflush(stderr);
    std::_Exit(code);
  }

  DaemonOptions options_;
  const std::string name_;
  LoadedTopology topology_;
  std::optional<ProgressDisplay> display_;  // engine thread once it runs
  std::unique_ptr<StateLock> lock_;
  asio::io_context main_{1};
  asio::signal_set signals_{main_, SIGTERM, SIGINT, SIGHUP};
  bool stopping_ = false;
  std::unique_ptr<EngineHost> engine_;
};

}  // namespace

int RunDaemon(DaemonOptions options) {
  std::signal(SIGPIPE, SIG_IGN);
  RaiseDescriptorLimit();
  auto topology = LoadTopologyFile(options.topology_path);
  if (!topology.ok()) {
    Complain(Message(topology.status()));
    return kExitUsage;
  }
  Daemon daemon(std::move(options), *std::move(topology));
  return daemon.Run();
}

}  // namespace imapmesh
