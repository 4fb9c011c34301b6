#include "rpc/logging.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>

#include "base/printable.h"
#include "rpc/json.h"

namespace imapmesh {
namespace {

constexpr size_t kMaxLine = 4000;
bool log_json = false;  // set before any other thread runs

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

}  // namespace

bool KnownLogLevel(std::string_view level) {
  for (const std::string_view known : {"debug", "info", "warn", "warning", "error", "off"}) {
    if (level == known) return true;
  }
  return false;
}

void SetUpLogging(const std::string& level, bool json) {
  log_json = json;
  auto logger = std::make_shared<spdlog::logger>("imapmeshd", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern(json ? R"({"time":"%Y-%m-%dT%H:%M:%S.%e%z","level":"%l","message":%v})"
                           : "%Y-%m-%d %H:%M:%S.%e %-7l %v");
  logger->set_level(spdlog::level::from_str(level == "warn" ? "warning" : level));
  logger->flush_on(spdlog::level::debug);
  spdlog::set_default_logger(std::move(logger));
}

void Log(LogLevel level, std::string_view text) {
  while (true) {
    const size_t end = text.find('\n');
    const std::string line = Printable(text.substr(0, end), kMaxLine);
    if (!line.empty()) spdlog::default_logger_raw()->log(ToSpdlog(level), log_json ? JsonString(line) : line);
    if (end == std::string_view::npos) return;
    text.remove_prefix(end + 1);
  }
}

}  // namespace imapmesh
