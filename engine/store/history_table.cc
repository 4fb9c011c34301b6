#include "engine/store/history_table.h"

namespace imapmesh {
namespace {

#define HISTORY_COLUMNS "unix_ms, message, mailbox_copy, kind, edge"

HistoryStep ReadStep(const Statement& statement) {
  HistoryStep step;
  step.unix_ms = statement.Int(0);
  step.message = MessageId(statement.Int(1));
  step.mailbox_copy = MailboxCopyId(statement.Int(2));
  step.kind = static_cast<StepKind>(statement.Int(3));
  step.edge = statement.Text(4);
  return step;
}

}  // namespace

void HistoryTable::Add(const HistoryStep& step) {
  database_.Prepare("INSERT INTO history(unix_ms, message, mailbox_copy, kind, edge) VALUES(?, ?, ?, ?, ?)")
      .Bind(1, step.unix_ms)
      .Bind(2, step.message.value)
      .Bind(3, step.mailbox_copy.value)
      .Bind(4, static_cast<int64_t>(step.kind))
      .Bind(5, step.edge)
      .Run();
}

std::vector<HistoryStep> HistoryTable::Of(MessageId message, size_t limit) {
  std::vector<HistoryStep> steps;
  Statement statement =
      database_.Prepare("SELECT " HISTORY_COLUMNS " FROM history WHERE message = ? ORDER BY id LIMIT ?");
  statement.Bind(1, message.value).Bind(2, static_cast<int64_t>(limit));
  while (statement.Step()) steps.push_back(ReadStep(statement));
  return steps;
}

std::optional<HistoryStep> HistoryTable::LastPresence(MessageId message, MailboxCopyId copy, int64_t steps) {
  Statement statement = database_.Prepare("SELECT " HISTORY_COLUMNS
                                          " FROM history WHERE id > (SELECT coalesce(max(id), 0) FROM history) - ? AND "
                                          "message = ? AND mailbox_copy = ? ORDER BY id DESC");
  statement.Bind(1, steps).Bind(2, message.value).Bind(3, copy.value);
  while (statement.Step()) {
    HistoryStep step = ReadStep(statement);
    if (ChangesPresence(step.kind)) return step;
  }
  return std::nullopt;
}

int64_t HistoryTable::LastTime(MessageId message, MailboxCopyId copy, StepKind kind, int64_t steps) {
  Statement statement = database_.Prepare(
      "SELECT coalesce(max(unix_ms), 0) FROM history WHERE id > (SELECT coalesce(max(id), 0) FROM history) - ? AND "
      "message = ? AND mailbox_copy = ? AND kind = ?");
  statement.Bind(1, steps).Bind(2, message.value).Bind(3, copy.value).Bind(4, static_cast<int64_t>(kind)).Step();
  return statement.Int(0);
}

std::set<MessageId> HistoryTable::MessagesSince(StepKind kind, int64_t unix_ms, int64_t steps) {
  std::set<MessageId> messages;
  Statement statement = database_.Prepare(
      "SELECT message FROM history WHERE id > (SELECT coalesce(max(id), 0) FROM history) - ? AND kind = ? AND "
      "unix_ms >= ?");
  statement.Bind(1, steps).Bind(2, static_cast<int64_t>(kind)).Bind(3, unix_ms);
  while (statement.Step()) messages.insert(MessageId(statement.Int(0)));
  return messages;
}

void HistoryTable::Prune(int64_t unix_ms, int64_t steps) {
  // Ids rise with time, so the oldest stand first and one range goes. Only that range is read.
  database_
      .Prepare(
          "DELETE FROM history WHERE id <= max((SELECT coalesce(max(id), 0) FROM history) - ?, "
          "coalesce((SELECT id - 1 FROM history WHERE unix_ms >= ? ORDER BY id LIMIT 1), "
          "(SELECT max(id) FROM history), 0))")
      .Bind(1, steps)
      .Bind(2, unix_ms)
      .Run();
}

}  // namespace imapmesh
