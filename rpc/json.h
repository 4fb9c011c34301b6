// Protobuf messages as the JSON that CONTRACT.md promises: names as in the .proto, every field present, 64-bit integers
// as numbers, enums by name. protobuf's own printer writes 64-bit integers as strings, hence this one.
//
// `--report` and the client's `--json` use it. Pure; any thread.
#ifndef IMAPMESH_RPC_JSON_H_
#define IMAPMESH_RPC_JSON_H_

#include <google/protobuf/message.h>

#include <string>
#include <string_view>

namespace imapmesh {

enum class JsonLayout {
  kOneLine,  // no line break anywhere: one object a line
  kIndented  // for people, ends in a line break
};

// Absent optional scalars and members of a oneof that are not set are left out; absent messages are null. Numbers that
// JSON cannot write (infinite, not a number) are null. Map fields are not used in this project and print as lists.
std::string ToJson(const google::protobuf::Message& message, JsonLayout layout);

// The text as a JSON string, with its quotes: every control character escaped, bytes that are no UTF-8 replaced.
std::string JsonString(std::string_view text);

}  // namespace imapmesh

#endif  // IMAPMESH_RPC_JSON_H_
