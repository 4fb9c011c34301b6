// explore: runs random histories against the whole engine until time is up, and shrinks what fails.
//
// bazel run -c opt --config=release //tests/sim:explore -- --minutes=N --seed=S --jobs=J [--trace] [--file=HISTORY]
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <fstream>
#include <iostream>
#include <sstream>

#include "tests/sim/memory_files.h"
#include "tests/sim/planner_case.h"
#include "tests/sim/run.h"
#include "tests/sim/shrink.h"

namespace imapmesh::sim {
namespace {

struct Settings {
  double minutes = 1;
  uint64_t seed = 1;
  uint64_t count = 0;  // 0: as many as time permits
  int jobs = 1;
  int failures_max = 5;
  bool trace = false;
  bool no_faults = false;
  bool no_shrink = false;
  bool one = false;
  bool several = false;
  bool planner = false;
  std::string file;
  std::string keep_state;
};

void Show(const History& history, const RunResult& result) {
  for (const std::string& violation : result.violations) std::cout << "  " << violation << "\n";
  std::cout << ToText(history) << std::flush;
}

int RunOne(const History& history, const Settings& settings) {
  RunOptions options;
  if (settings.trace) options.trace = [](const std::string& line) { std::cout << line << "\n"; };
  const RunResult result = Run(history, options);
  Show(history, result);
  for (const auto& [name, bytes] : MemoryFiles()) {
    if (!settings.keep_state.empty()) std::ofstream(settings.keep_state + name, std::ios::binary) << bytes;
  }
  std::cout << (result.violations.empty() ? "all invariants hold" : "FAILED") << " (" << result.rounds_to_converge
            << " rounds to converge, " << result.engine_steps << " steps, " << result.virtual_seconds << " s)\n";
  return result.violations.empty() ? 0 : 1;
}

int Explore(const Settings& settings, int job) {
  Limits limits;
  limits.faults = !settings.no_faults;
  limits.several = !settings.one;
  const auto started = std::chrono::steady_clock::now();
  const auto elapsed = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  };
  uint64_t runs = 0;
  int failures = 0;
  for (uint64_t seed = settings.seed + static_cast<uint64_t>(job); failures < settings.failures_max;
       seed += static_cast<uint64_t>(settings.jobs)) {
    if (elapsed() > settings.minutes * 60 || (settings.count != 0 && runs >= settings.count)) break;
    const History history = Draw(seed, limits);
    if (settings.several && history.coordinators.empty()) continue;
    const RunResult result = Run(history, RunOptions());
    ++runs;
    if (result.violations.empty()) continue;
    ++failures;
    std::cout << "FAILED seed=" << seed << "\n";
    if (settings.no_shrink) {
      for (const std::string& violation : result.violations) std::cout << "  " << violation << "\n";
      std::cout << std::flush;
      continue;
    }
    const History shrunk = Shrink(history);
    std::cout << "shrunk to " << shrunk.steps.size() << " of " << history.steps.size() << " steps:\n";
    Show(shrunk, Run(shrunk, RunOptions()));
  }
  std::cout << "job " << job << ": " << runs << " histories in " << elapsed() << " s ("
            << static_cast<double>(runs) / elapsed() << " a second), " << failures << " failed\n"
            << std::flush;
  return failures == 0 ? 0 : 1;
}

// Lives of one message through merge and plan, a thousand a graph.
int ExplorePlanner(const Settings& settings, int job) {
  constexpr uint64_t kLivesAGraph = 1000;
  const auto started = std::chrono::steady_clock::now();
  const auto elapsed = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  };
  uint64_t lives = 0;
  int failures = 0;
  for (uint64_t graph = settings.seed + static_cast<uint64_t>(job); failures < settings.failures_max;
       graph += static_cast<uint64_t>(settings.jobs)) {
    if (elapsed() > settings.minutes * 60 || (settings.count != 0 && lives >= settings.count)) break;
    PlannerWorld world(graph);
    for (uint64_t i = 0; i < kLivesAGraph; ++i, ++lives) {
      const uint64_t seed = graph * kLivesAGraph + i;
      const std::string broken = world.Case(seed);
      if (broken.empty()) continue;
      std::cout << "FAILED planner graph=" << graph << " seed=" << seed << ": " << broken << "\n" << std::flush;
      ++failures;
      break;
    }
  }
  std::cout << "job " << job << ": " << lives << " planner cases in " << elapsed() << " s, " << failures << " failed\n"
            << std::flush;
  return failures == 0 ? 0 : 1;
}

int ExploreJob(const Settings& settings, int job) {
  return settings.planner ? ExplorePlanner(settings, job) : Explore(settings, job);
}

int Main(int argc, char** argv) {
  Settings settings;
  CLI::App app("explores random histories of the whole engine");
  app.add_option("--minutes", settings.minutes);
  app.add_option("--seed", settings.seed, "the first; with --count=1, the one");
  app.add_option("--count", settings.count);
  app.add_option("--jobs", settings.jobs);
  app.add_option("--failures", settings.failures_max, "stop after so many");
  app.add_flag("--trace", settings.trace, "with --file or --count=1: shows every byte");
  app.add_flag("--no-faults", settings.no_faults);
  app.add_flag("--no-shrink", settings.no_shrink);
  app.add_flag("--one", settings.one, "one coordinator only");
  app.add_flag("--several", settings.several, "seeds of several coordinators only");
  app.add_flag("--planner", settings.planner, "merge and plan alone, without servers and store");
  app.add_option("--keep-state", settings.keep_state, "with --file or --count=1: writes each state to PREFIXstateN.db");
  app.add_option("--file", settings.file, "runs the history in this file");
  CLI11_PARSE(app, argc, argv);
  InstallMemoryFiles();
  if (!settings.file.empty()) {
    std::ifstream file(settings.file);
    std::stringstream text;
    text << file.rdbuf();
    const auto history = Parse(text.str());
    if (!history.ok()) {
      std::cerr << history.status() << "\n";
      return 2;
    }
    return RunOne(*history, settings);
  }
  if (settings.count == 1 && !settings.planner) {
    Limits limits;
    limits.faults = !settings.no_faults;
    limits.several = !settings.one;
    return RunOne(Draw(settings.seed, limits), settings);
  }
  for (int job = 1; job < settings.jobs; ++job) {
    if (fork() == 0) _exit(ExploreJob(settings, job));
  }
  int code = ExploreJob(settings, 0);
  for (int status = 0; wait(&status) > 0;) code |= status != 0 ? 1 : 0;
  return code;
}

}  // namespace
}  // namespace imapmesh::sim

int main(int argc, char** argv) {
  return imapmesh::sim::Main(argc, argv);
}
