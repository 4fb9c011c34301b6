#include "graph/findings.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>

#include "base/printable.h"
#include "base/status.h"

namespace imapmesh {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::TextFormat;

constexpr size_t kErrorsMax = 100;  // more help nobody

std::string Join(std::string_view path, std::string_view field) {
  if (path.empty()) return std::string(field);
  if (field.empty()) return std::string(path);
  return absl::StrFormat("%s.%s", path, field);
}

}  // namespace

Place Place::Nested(std::string_view name, int index, std::string_view label) const {
  const FieldDescriptor* field = descriptor->FindFieldByName(std::string(name));
  Place nested{nullptr, field->message_type(), Join(path, name), start};
  if (!label.empty()) nested.path += absl::StrFormat("[%s]", label);
  if (tree == nullptr) return nested;
  nested.tree = tree->GetTreeForNested(field, index);
  TextFormat::ParseLocation location = tree->GetLocation(field, index);
  // A list in brackets has one place for all its members.
  if (location.line < 0 && index > 0) location = tree->GetLocation(field, 0);
  if (location.line >= 0) nested.start = location;
  return nested;
}

void Findings::Error(const Place& place, std::string_view field, std::string_view text, int index) {
  errors_.push_back(Locate(place, field, text, index));
}

void Findings::Warning(const Place& place, std::string_view field, std::string_view text, int index) {
  warnings_.push_back(Locate(place, field, text, index).text);
}

void Findings::ErrorAt(int line, int column, std::string_view field, std::string_view text) {
  errors_.push_back(MakeEntry(line, column, field, text));
}

std::string Findings::Errors() const {
  std::vector<Entry> sorted = errors_;
  std::stable_sort(sorted.begin(), sorted.end(), [](const Entry& x, const Entry& y) {
    return x.line != y.line ? x.line < y.line : x.column < y.column;
  });
  std::string text;
  for (size_t i = 0; i < sorted.size() && i < kErrorsMax; ++i) {
    if (i > 0) text += "\n";
    text += sorted[i].text;
  }
  if (sorted.size() > kErrorsMax) text += absl::StrFormat("\n… and %d more", sorted.size() - kErrorsMax);
  return text;
}

Findings::Entry Findings::MakeEntry(int line, int column, std::string_view field, std::string_view text) const {
  line = std::max(line, 0);
  column = std::max(column, 0);
  std::string where = absl::StrFormat("%s:%d:%d: ", file_name_, line + 1, column + 1);
  // Words of the file may be in both.
  if (!field.empty()) where += Printable(field, 200) + ": ";
  return {line, column, where + Printable(text, 4000)};
}

Findings::Entry Findings::Locate(const Place& place, std::string_view field, std::string_view text, int index) const {
  TextFormat::ParseLocation location = place.start;
  if (!field.empty() && place.tree != nullptr) {
    const FieldDescriptor* descriptor = place.descriptor->FindFieldByName(std::string(field));
    // A repeated field has places only one by one.
    if (!descriptor->is_repeated() || index >= 0) {
      const TextFormat::ParseLocation exact = place.tree->GetLocation(descriptor, index);
      if (exact.line >= 0) location = exact;
    }
  }
  return MakeEntry(location.line, location.column, Join(place.path, field), text);
}

}  // namespace imapmesh
