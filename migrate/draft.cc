#include "migrate/draft.h"

#include <google/protobuf/text_format.h>

#include <algorithm>
#include <cctype>

#include "base/printable.h"

namespace imapmesh {
namespace {

constexpr size_t kNameMax = 64;

std::string Comment(std::string_view text) {
  return "# " + Printable(text, 2000) + "\n";
}

std::string Block(std::string_view field, const google::protobuf::Message& message) {
  google::protobuf::TextFormat::Printer printer;
  printer.SetUseUtf8StringEscaping(true);
  printer.SetInitialIndentLevel(1);
  std::string inner;
  printer.PrintToString(message, &inner);
  return std::string(field) + " {\n" + inner + "}\n";
}

}  // namespace

std::string TopologyName(std::string_view text, std::string_view fallback) {
  std::string name;
  for (const unsigned char c : text) {
    if (std::isalnum(c) || c == '_') {
      name += static_cast<char>(std::tolower(c));
    } else if (!name.empty() && name.back() != '-') {
      name += '-';
    }
  }
  name.resize(std::min(name.size(), kNameMax));
  while (!name.empty() && name.back() == '-') name.pop_back();
  return name.empty() ? std::string(fallback) : name;
}

std::string TopologyText(const Draft& draft, const std::vector<std::string>& head) {
  std::string text = "# proto-file: graph/topology.proto\n# proto-message: imapmesh.v1.Topology\n";
  for (const std::string& line : head) text += Comment(line);
  text += "name: \"" + draft.topology.name() + "\"\n";
  for (const v1::Replica& replica : draft.topology.replica()) {
    const auto origin = draft.origins.find(replica.name());
    text += "\n" + (origin == draft.origins.end() ? "" : Comment(origin->second)) + Block("replica", replica);
  }
  for (int i = 0; i < draft.topology.edge_size(); ++i) {
    const auto index = static_cast<size_t>(i);
    text += "\n" + (index < draft.edge_origins.size() ? Comment(draft.edge_origins[index]) : "");
    text += Block("edge", draft.topology.edge(i));
  }
  if (draft.topology.has_policy()) text += "\n" + Block("policy", draft.topology.policy());
  return text;
}

}  // namespace imapmesh
