// check_history: reads a History as protobuf JSON on standard input and prints one violation a line.
//
// The harnesses that are not C++ call it. Exit code 0: all invariants hold; 1: violations; 2: not a History.
#include <google/protobuf/util/json_util.h>

#include <iostream>
#include <iterator>
#include <string>

#include "tests/checker/checker.h"

int main() {
  const std::string input{std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
  imapmesh::checker::History history;
  const auto parsed = google::protobuf::util::JsonStringToMessage(input, &history);
  if (!parsed.ok()) {
    std::cerr << "check_history: standard input is not an imapmesh.checker.History: " << parsed.ToString() << "\n";
    return 2;
  }
  const auto violations = imapmesh::checker::Check(history);
  for (const auto& violation : violations) std::cout << ToString(violation) << "\n";
  return violations.empty() ? 0 : 1;
}
