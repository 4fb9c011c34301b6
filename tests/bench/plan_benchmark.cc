// How fast a message is planned, by the size of the graph: nothing pending, a new message for all, a changed flag.
#include <benchmark/benchmark.h>

#include <memory>
#include <string>

#include "engine/sync/plan.h"
#include "graph/load.h"

namespace imapmesh {
namespace {

// A star of `replicas`, and a message that each of them holds.
struct Bench {
  explicit Bench(int64_t replicas) {
    std::string text = "name: \"bench\"";
    for (int64_t i = 0; i < replicas; ++i) {
      const std::string name = "r" + std::to_string(i);
      text += " replica { name: \"" + name + "\" tunnel { command: \"" + name + "\" } }";
      if (i > 0) text += " edge { a: \"r0\" b: \"" + name + "\" }";
      mailbox.copies.emplace_back(i + 1);
      CopyRegisters copy;
      copy.mailbox_copy = MailboxCopyId(i + 1);
      copy.uid = Uid(1);
      copy.presence = Presence::kPresent;
      copy.stamp = Stamp(5);
      copy.flags.Put(FlagId(2), true, Stamp(5));
      message.copies.push_back(copy);
    }
    auto loaded = LoadTopologyText(text, "bench", ".");
    graph = loaded.value().graph;
    mailbox.id = MailboxId(1);
    mailbox.name = "INBOX";
    context.graph = graph.get();
    context.replica_up.assign(static_cast<size_t>(replicas), true);
    context.edge_paused.assign(static_cast<size_t>(replicas) - 1, false);
    context.deleted_flag = FlagId(1);
  }

  void Run(benchmark::State& state, size_t operations) {
    const Admissions admissions(*graph, mailbox.name);
    for (auto _ : state) {
      MessagePlan plan = PlanMessage(message, mailbox, admissions, context);
      if (plan.copies.size() != operations) state.SkipWithError("another plan than expected");
      benchmark::DoNotOptimize(plan);
    }
    state.SetItemsProcessed(state.iterations());
  }

  decltype(LoadTopologyText("", "", ".")->graph) graph;
  MailboxView mailbox;
  PlanContext context;
  MessageRegisters message;
};

void NothingPending(benchmark::State& state) {
  Bench bench(state.range(0));
  bench.Run(state, 0);
}
BENCHMARK(NothingPending)->Arg(2)->Arg(3)->Arg(10)->Arg(50);

void NewMessage(benchmark::State& state) {
  Bench bench(state.range(0));
  bench.message.copies.resize(1);
  bench.Run(state, static_cast<size_t>(state.range(0)) - 1);
}
BENCHMARK(NewMessage)->Arg(2)->Arg(3)->Arg(10)->Arg(50);

void ChangedFlag(benchmark::State& state) {
  Bench bench(state.range(0));
  bench.message.copies[0].flags.Put(FlagId(3), true, Stamp(9));
  bench.Run(state, static_cast<size_t>(state.range(0)) - 1);
}
BENCHMARK(ChangedFlag)->Arg(2)->Arg(3)->Arg(10)->Arg(50);

}  // namespace
}  // namespace imapmesh

BENCHMARK_MAIN();
