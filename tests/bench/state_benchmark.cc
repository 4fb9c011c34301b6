// How fast the state takes and gives messages, and how many bytes a message copy costs. Each iteration is one batch in
// one transaction, as the coordinator writes it.
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "engine/store/state.h"

namespace imapmesh {
namespace {

constexpr int kBatch = 1000;

// A state file of its own, with one mailbox on two replicas.
class StateFile {
 public:
  StateFile()
      : path_(std::filesystem::temp_directory_path() / ("state_benchmark." + std::to_string(getpid()))),
        state_((std::filesystem::remove(path_), path_.string())) {
    Transaction transaction(state_.database());
    mailbox_ = state_.InternMailbox("INBOX");
    for (const char* name : {"near", "far"}) {
      MailboxCopyRecord record;
      record.replica = state_.InternReplica(name);
      record.mailbox = mailbox_;
      record.mailbox_name = "INBOX";
      state_.Save(record);
      copies_.push_back(record.id);
    }
    seen_ = state_.InternFlag("\\Seen");
    transaction.Commit();
  }
  ~StateFile() {
    for (const char* suffix : {"", "-wal", "-shm"}) std::filesystem::remove(path_.string() + suffix);
  }

  // One batch of messages, each on both replicas.
  void AddBatch() {
    Transaction transaction(state_.database());
    for (int i = 0; i < kBatch; ++i) {
      MessageRegisters message;
      message.mailbox = mailbox_;
      ++number_;
      for (size_t byte = 0; byte < message.identity.size(); ++byte) {
        message.identity[byte] = static_cast<uint8_t>((number_ * 2654435761U) >> (byte % 4 * 8));
      }
      message.size = 6800;
      message.internal_date = 1'700'000'000;
      message.message_id = "<" + std::to_string(number_) + ".bench@mail.example.org>";
      const MessageId id = state_.InsertMessage(message);
      for (const MailboxCopyId mailbox_copy : copies_) {
        CopyRegisters copy;
        copy.mailbox_copy = mailbox_copy;
        copy.uid = Uid(number_);
        copy.presence = Presence::kPresent;
        copy.stamp = Stamp(number_);
        copy.flags.Put(seen_, true, Stamp(number_));
        state_.SaveCopy(id, copy);
      }
    }
    transaction.Commit();
  }

  State& state() { return state_; }
  MailboxCopyId near() const { return copies_.front(); }
  uint32_t messages() const { return number_; }
  double BytesACopy() {
    state_.database().Execute("PRAGMA wal_checkpoint(TRUNCATE)");
    return static_cast<double>(std::filesystem::file_size(path_)) / (2.0 * number_);
  }

 private:
  std::filesystem::path path_;
  State state_;
  MailboxId mailbox_;
  FlagId seen_;
  std::vector<MailboxCopyId> copies_;
  uint32_t number_ = 0;
};

void AddMessages(benchmark::State& bench) {
  StateFile file;
  for (auto _ : bench) file.AddBatch();
  bench.SetItemsProcessed(bench.iterations() * kBatch);
  bench.counters["bytes_a_copy"] = file.BytesACopy();
}
BENCHMARK(AddMessages);

void FindByUid(benchmark::State& bench) {
  StateFile file;
  while (file.messages() < bench.range(0)) file.AddBatch();
  uint32_t uid = 0;
  Transaction transaction(file.state().database());
  for (auto _ : bench) {
    uid = (uid + 7919) % file.messages();
    auto message = file.state().LoadByUid(file.near(), Uid(uid + 1));
    if (!message) bench.SkipWithError("a message is missing");
  }
  bench.SetItemsProcessed(bench.iterations());
}
BENCHMARK(FindByUid)->Arg(20'000);

void ChangeFlags(benchmark::State& bench) {
  StateFile file;
  while (file.messages() < 20'000) file.AddBatch();
  uint32_t uid = 0;
  for (auto _ : bench) {
    Transaction transaction(file.state().database());
    for (int i = 0; i < kBatch; ++i) {
      uid = (uid + 7919) % file.messages();
      auto message = file.state().LoadByUid(file.near(), Uid(uid + 1));
      message->copies[0].stamp = Stamp(message->copies[0].stamp.value + 1);
      file.state().SaveCopy(message->id, message->copies[0]);
      file.state().MarkUnsettled(message->id);
    }
    transaction.Commit();
  }
  bench.SetItemsProcessed(bench.iterations() * kBatch);
}
BENCHMARK(ChangeFlags);

}  // namespace
}  // namespace imapmesh

BENCHMARK_MAIN();
