// imapmeshd, the coordinator daemon: its command line (CONTRACT.md section 2).
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <string>

#include "rpc/daemon.h"
#include "rpc/exit_codes.h"
#include "rpc/logging.h"
#include "rpc/version.h"

int main(int argc, char** argv) {
  setenv("GRPC_VERBOSITY", "NONE", 0);  // its complaints mean nothing to the reader of our log
  imapmesh::DaemonOptions options;
  std::string level;
  std::string format = "text";
  CLI::App app("Keeps the same mail on any number of IMAP servers in agreement.", "imapmeshd");
  app.set_version_flag("--version", std::string("imapmeshd ") + imapmesh::kVersion);
  app.add_option("--topology", options.topology_path, "The topology file")->required()->type_name("FILE");
  app.add_option("--state", options.state_path, "The state file; default $XDG_STATE_HOME/imapmesh/NAME.db")
      ->type_name("FILE");
  app.add_option("--listen", options.server.addresses,
                 "unix:PATH or HOST:PORT, repeatable; default unix:$XDG_RUNTIME_DIR/imapmesh/NAME.sock")
      ->type_name("ADDRESS")
      ->allow_extra_args(false);
  auto* once = app.add_flag("--once", options.once, "Sync until converged, then exit");
  app.add_option("--report", options.report_path, "With --once: write a JSON report")->type_name("FILE")->needs(once);
  app.add_option("--log-level", level, "debug, info, warn, error or off; default info")
      ->check(CLI::Validator(
          [](std::string& text) {
            return imapmesh::KnownLogLevel(text) ? "" : "a log level is one of debug, info, warn, error, off";
          },
          "LEVEL"));
  app.add_option("--log-format", format, "text or json")->check(CLI::IsMember({"text", "json"}));
  app.add_option("--tls-cert", options.server.tls_cert, "PEM certificate of the gRPC server")->type_name("FILE");
  app.add_option("--tls-key", options.server.tls_key, "PEM key of the certificate")->type_name("FILE");
  app.add_option("--tls-client-ca", options.server.tls_client_ca, "PEM authorities that vouch for clients")
      ->type_name("FILE");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : imapmesh::kExitUsage;
  }
  // Routine lines would run through the progress that is redrawn on a terminal.
  if (level.empty()) level = options.once && isatty(STDERR_FILENO) != 0 ? "warn" : "info";
  imapmesh::SetUpLogging(level, format == "json");
  return imapmesh::RunDaemon(std::move(options));
}
