#include "migrate/notes.h"

#include "base/printable.h"

namespace imapmesh {
namespace {

constexpr size_t kNotesMax = 1000;  // a hostile file must not fill the screen for ever
constexpr size_t kTextMax = 2000;

}  // namespace

std::string Notes::Place(int line, std::string_view text) const {
  const std::string place = Printable(file_, kTextMax) + (line > 0 ? ":" + std::to_string(line) : "");
  return place + ": " + Printable(text, kTextMax);
}

void Notes::Error(int line, std::string_view text) {
  if (errors_.size() < kNotesMax) errors_.push_back(Place(line, text));
}

void Notes::Warning(int line, std::string_view text) {
  if (warnings_.size() < kNotesMax) warnings_.push_back(Place(line, text));
}

absl::Status Notes::status() const {
  if (ok()) return absl::OkStatus();
  std::string text;
  for (const std::string& error : errors_) text += (text.empty() ? "" : "\n") + error;
  return absl::InvalidArgumentError(text);
}

}  // namespace imapmesh
