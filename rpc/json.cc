#include "rpc/json.h"

#include <google/protobuf/descriptor.h>

#include <charconv>
#include <cmath>
#include <cstdint>

#include "absl/strings/escaping.h"
#include "base/status.h"

namespace imapmesh {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Reflection;

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// Length of the valid UTF-8 sequence at the start of `text`; 0 when there is none.
size_t SequenceLength(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  if (lead == 0xE0 && byte(1) < 0xA0) return 0;  // overlong
  if (lead == 0xED && byte(1) > 0x9F) return 0;  // surrogate
  if (lead == 0xF0 && byte(1) < 0x90) return 0;  // overlong
  if (lead == 0xF4 && byte(1) > 0x8F) return 0;  // beyond U+10FFFF
  return length;
}

void AppendCharacter(std::string_view sequence, std::string& out) {
  const auto first = static_cast<unsigned char>(sequence[0]);
  if (first == '"' || first == '\\') {
    out += '\\';
    out += sequence;
  } else if (first == '\n') {
    out += "\\n";
  } else if (first == '\r') {
    out += "\\r";
  } else if (first == '\t') {
    out += "\\t";
  } else if (first < 0x20 || first == 0x7F) {
    out += absl::StrFormat("\\u%04x", first);
  } else if (first == 0xC2 && static_cast<unsigned char>(sequence[1]) < 0xA0) {
    out += absl::StrFormat("\\u%04x", static_cast<unsigned char>(sequence[1]));  // C1
  } else {
    out += sequence;
  }
}

std::string Number(double value) {
  if (!std::isfinite(value)) return "null";
  char text[64];
  const auto end = std::to_chars(text, text + sizeof(text), value);
  return std::string(text, end.ptr);
}

class Printer {
 public:
  explicit Printer(JsonLayout layout) : indented_(layout == JsonLayout::kIndented) {}

  void Print(const google::protobuf::Message& message) {
    const auto* descriptor = message.GetDescriptor();
    bool first = true;
    out_ += '{';
    ++depth_;
    for (int i = 0; i < descriptor->field_count(); ++i) {
      const FieldDescriptor* field = descriptor->field(i);
      const bool absent = field->has_presence() && !message.GetReflection()->HasField(message, field);
      const bool chosen = field->containing_oneof() != nullptr;  // proto3 `optional` included
      if (absent && chosen) continue;
      Separate(first);
      out_ += JsonString(field->name()) + (indented_ ? ": " : ":");
      if (absent) {
        out_ += "null";
      } else if (field->is_repeated()) {
        PrintList(message, field);
      } else {
        PrintValue(message, field, -1);
      }
    }
    --depth_;
    if (!first) Break();
    out_ += '}';
  }

  std::string Take() {
    if (indented_) out_ += '\n';
    return std::move(out_);
  }

 private:
  void Break() {
    if (!indented_) return;
    out_ += '\n';
    out_.append(static_cast<size_t>(depth_) * 2, ' ');
  }
  void Separate(bool& first) {
    if (!first) out_ += ',';
    first = false;
    Break();
  }

  void PrintList(const google::protobuf::Message& message, const FieldDescriptor* field) {
    const int size = message.GetReflection()->FieldSize(message, field);
    bool first = true;
    out_ += '[';
    ++depth_;
    for (int i = 0; i < size; ++i) {
      Separate(first);
      PrintValue(message, field, i);
    }
    --depth_;
    if (!first) Break();
    out_ += ']';
  }

  // `index`: of a repeated field, else -1.
  void PrintValue(const google::protobuf::Message& message, const FieldDescriptor* field, int index) {
    const Reflection& r = *message.GetReflection();
    const bool list = index >= 0;
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_INT32:
        out_ += std::to_string(list ? r.GetRepeatedInt32(message, field, index) : r.GetInt32(message, field));
        break;
      case FieldDescriptor::CPPTYPE_INT64:
        out_ += std::to_string(list ? r.GetRepeatedInt64(message, field, index) : r.GetInt64(message, field));
        break;
      case FieldDescriptor::CPPTYPE_UINT32:
        out_ += std::to_string(list ? r.GetRepeatedUInt32(message, field, index) : r.GetUInt32(message, field));
        break;
      case FieldDescriptor::CPPTYPE_UINT64:
        out_ += std::to_string(list ? r.GetRepeatedUInt64(message, field, index) : r.GetUInt64(message, field));
        break;
      case FieldDescriptor::CPPTYPE_DOUBLE:
        out_ += Number(list ? r.GetRepeatedDouble(message, field, index) : r.GetDouble(message, field));
        break;
      case FieldDescriptor::CPPTYPE_FLOAT:
        out_ += Number(list ? r.GetRepeatedFloat(message, field, index) : r.GetFloat(message, field));
        break;
      case FieldDescriptor::CPPTYPE_BOOL:
        out_ += (list ? r.GetRepeatedBool(message, field, index) : r.GetBool(message, field)) ? "true" : "false";
        break;
      case FieldDescriptor::CPPTYPE_ENUM:
        PrintEnum(field, list ? r.GetRepeatedEnumValue(message, field, index) : r.GetEnumValue(message, field));
        break;
      case FieldDescriptor::CPPTYPE_STRING:
        PrintText(field, list ? r.GetRepeatedString(message, field, index) : r.GetString(message, field));
        break;
      case FieldDescriptor::CPPTYPE_MESSAGE:
        Print(list ? r.GetRepeatedMessage(message, field, index) : r.GetMessage(message, field));
        break;
    }
  }

  // A value that this version does not know has no name: its number.
  void PrintEnum(const FieldDescriptor* field, int value) {
    const auto* known = field->enum_type()->FindValueByNumber(value);
    out_ += known != nullptr ? JsonString(known->name()) : std::to_string(value);
  }

  void PrintText(const FieldDescriptor* field, const std::string& text) {
    out_ += JsonString(field->type() == FieldDescriptor::TYPE_BYTES ? absl::Base64Escape(text) : text);
  }

  const bool indented_;
  int depth_ = 0;
  std::string out_;
};

}  // namespace

std::string JsonString(std::string_view text) {
  std::string out = "\"";
  while (!text.empty()) {
    const size_t length = SequenceLength(text);
    if (length == 0) {
      out += kReplacement;
      text.remove_prefix(1);
      continue;
    }
    AppendCharacter(text.substr(0, length), out);
    text.remove_prefix(length);
  }
  return out + "\"";
}

std::string ToJson(const google::protobuf::Message& message, JsonLayout layout) {
  Printer printer(layout);
  printer.Print(message);
  return printer.Take();
}

}  // namespace imapmesh
