// How fast the IMAP grammar reads: FETCH of flags, of headers, and of whole messages, and a LIST-STATUS. Bytes a
// second.
#include <benchmark/benchmark.h>

#include <string>

#include "engine/imap/response.h"
#include "engine/imap/response_reader.h"

namespace imapmesh::imap {
namespace {

constexpr size_t kReadBytes = 64 * 1024;  // what the session reads at once

void Parse(benchmark::State& state, const std::string& input, int64_t responses) {
  for (auto _ : state) {
    ResponseReader reader;
    int64_t found = 0;
    for (size_t begin = 0; begin < input.size(); begin += kReadBytes) {
      reader.Feed(std::string_view(input).substr(begin, kReadBytes));
      while (true) {
        auto raw = reader.Next();
        if (!raw.ok() || !raw->has_value()) break;
        auto response = ParseResponse(**std::move(raw));
        if (response.ok()) ++found;
        benchmark::DoNotOptimize(response);
      }
    }
    if (found != responses) state.SkipWithError("responses were lost");
  }
  state.SetBytesProcessed(static_cast<int64_t>(input.size()) * state.iterations());
  state.SetItemsProcessed(responses * state.iterations());
}

std::string Number(int64_t number) {
  return std::to_string(number);
}

void FetchFlags(benchmark::State& state) {
  std::string input;
  const int64_t count = state.range(0);
  for (int64_t i = 1; i <= count; ++i) {
    input += "* " + Number(i) + " FETCH (UID " + Number(i + 7) + " FLAGS (\\Seen \\Answered $Label1) MODSEQ (" +
             Number(1000 + i) + "))\r\n";
  }
  Parse(state, input, count);
}
BENCHMARK(FetchFlags)->Arg(10'000);

void FetchHeaders(benchmark::State& state) {
  const std::string header =
      "Message-ID: <4711.bench@example.org>\r\nDate: Mon, 01 Jan 2024 10:00:00 +0000\r\nFrom: A <a@example.org>\r\n"
      "To: b@example.org\r\nSubject: about something\r\n\r\n";
  std::string input;
  const int64_t count = state.range(0);
  for (int64_t i = 1; i <= count; ++i) {
    input +=
        "* " + Number(i) + " FETCH (UID " + Number(i) + " FLAGS (\\Seen) INTERNALDATE \"01-Jan-2024 10:00:00 +0000\"" +
        " RFC822.SIZE 4321 X-GUID 5a7b1f3c9d BODY[HEADER.FIELDS (MESSAGE-ID DATE FROM TO CC SUBJECT CONTENT-TYPE)] {" +
        Number(static_cast<int64_t>(header.size())) + "}\r\n" + header + ")\r\n";
  }
  Parse(state, input, count);
}
BENCHMARK(FetchHeaders)->Arg(10'000);

void FetchBodies(benchmark::State& state) {
  const auto size = static_cast<size_t>(state.range(0));
  const std::string body(size, 'x');
  const int64_t count = std::max<int64_t>(1, (8 << 20) / state.range(0));
  std::string input;
  for (int64_t i = 1; i <= count; ++i) {
    input +=
        "* " + Number(i) + " FETCH (UID " + Number(i) + " BODY[] {" + Number(state.range(0)) + "}\r\n" + body + ")\r\n";
  }
  Parse(state, input, count);
}
BENCHMARK(FetchBodies)->Arg(1000)->Arg(6800)->Arg(100'000);

void ListStatus(benchmark::State& state) {
  std::string input;
  const int64_t count = state.range(0);
  for (int64_t i = 0; i < count; ++i) {
    const std::string name = "\"Lists/m" + Number(i) + "\"";
    input += "* LIST (\\HasNoChildren \\Subscribed) \"/\" " + name + "\r\n* STATUS " + name +
             " (UIDNEXT 7001 UIDVALIDITY 1700000000 HIGHESTMODSEQ 12345)\r\n";
  }
  Parse(state, input, 2 * count);
}
BENCHMARK(ListStatus)->Arg(100)->Arg(10'000);

}  // namespace
}  // namespace imapmesh::imap

BENCHMARK_MAIN();
