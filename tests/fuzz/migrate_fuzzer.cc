// libFuzzer over what is read of other tools: their configurations and mbsync's sync state. The first byte chooses.
// Whatever the file, it is refused with errors fit to print, or becomes a topology without any password in it.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "graph/load.h"
#include "migrate/draft.h"
#include "migrate/interimap_config.h"
#include "migrate/interimap_topology.h"
#include "migrate/mailbox_patterns.h"
#include "migrate/mbsync_config.h"
#include "migrate/mbsync_state.h"
#include "migrate/mbsync_topology.h"

namespace {

using imapmesh::Draft;
using imapmesh::Notes;

void CheckPrintable(std::string_view text) {
  for (const char c : text) {
    if ((static_cast<unsigned char>(c) < 0x20 && c != '\n') || c == 0x7f) std::abort();
  }
}

// The loader's errors are its own matter; that it reads the text is not.
void Load(const Draft& draft) {
  const std::string text = imapmesh::TopologyText(draft, {"made"});
  const auto loaded = imapmesh::LoadTopologyText(text, "made", "/");
  if (loaded.ok()) return;
  const std::string errors = imapmesh::Message(loaded.status());
  CheckPrintable(errors);
  if (errors.find("xpected") != std::string::npos) std::abort();  // a syntax error
}

void CheckNotes(const Notes& notes) {
  CheckPrintable(imapmesh::Message(notes.status()));
  for (const std::string& warning : notes.warnings()) CheckPrintable(warning);
}

void Interimap(std::string_view text) {
  Notes notes("fuzz");
  const auto config = imapmesh::ParseInterimapConfig(text, notes);
  if (notes.ok()) {
    const Draft draft = imapmesh::InterimapTopology(config, "home", false, {}, notes);
    if (notes.ok()) Load(draft);
  }
  CheckNotes(notes);
}

void Mbsync(std::string_view text) {
  Notes notes("fuzz");
  const auto config = imapmesh::ParseMbsyncConfig(text, notes);
  if (notes.ok()) {
    const auto made = imapmesh::MbsyncTopology(config, "home", "/home", notes);
    if (notes.ok()) Load(made.draft);
  }
  CheckNotes(notes);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 4) {
    case 0:
      Interimap(text);
      break;
    case 1:
      Mbsync(text);
      break;
    case 2: {
      const auto state = imapmesh::ParseMbsyncState(text, "fuzz");
      if (!state.ok()) CheckPrintable(imapmesh::Message(state.status()));
      break;
    }
    default:
      (void)imapmesh::PatternsOfExpression(text);
      (void)imapmesh::ParseListMailbox(text);
  }
  return 0;
}
