// Pictures of the declared graph, for `imapmesh graph`. Secrets do not appear in them. Any thread.
#ifndef IMAPMESH_GRAPH_DRAW_H_
#define IMAPMESH_GRAPH_DRAW_H_

#include <string>

#include "base/status.h"
#include "graph/graph.h"

namespace imapmesh {

// A list of replicas and one of edges with what each carries, for a terminal.
std::string DrawText(const Graph& graph);

// Graphviz's language.
std::string DrawDot(const Graph& graph);

// What `dot -Tsvg` makes of DrawDot; blocks until it is done. kFailedPrecondition when Graphviz is not installed.
absl::StatusOr<std::string> DrawSvg(const Graph& graph);

// "alice@mail.example.org:993 (TLS)", "tunnel `doveadm exec imap`", "unix socket /run/imap.sock".
std::string EndpointText(const v1::Replica& replica);

// "every mailbox, every change", "INBOX, Work/* but Spam; no flags; deletions kept; paused".
std::string CarriesText(const v1::Edge& edge);

}  // namespace imapmesh

#endif  // IMAPMESH_GRAPH_DRAW_H_
