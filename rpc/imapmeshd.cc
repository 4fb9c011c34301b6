// imapmeshd, the coordinator daemon: its command line (CONTRACT.md section 2).
#include <malloc.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <string>
#include <utility>

#include "rpc/certs_command.h"
#include "rpc/daemon.h"
#include "rpc/exit_codes.h"
#include "rpc/logging.h"
#include "rpc/version.h"

namespace imapmesh {
namespace {

void AddDaemonOptions(CLI::App& app, DaemonOptions& options, std::string& level, std::string& format) {
  app.add_option("--topology", options.topology_path, "The topology file")->type_name("FILE");
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
            return KnownLogLevel(text) ? "" : "a log level is one of debug, info, warn, error, off";
          },
          "LEVEL"));
  app.add_option("--log-format", format, "text or json")->check(CLI::IsMember({"text", "json"}));
}

void AddServerOptions(CLI::App& app, ServerOptions& options) {
  app.add_option("--tls-dir", options.tls_dir, "For HOST:PORT: the folder that imapmeshd certs init made")
      ->type_name("DIR");
  app.add_option("--tls-cert", options.tls_cert, "PEM certificate of the gRPC server")->type_name("FILE");
  app.add_option("--tls-key", options.tls_key, "PEM key of the certificate")->type_name("FILE");
  app.add_option("--tls-client-ca", options.tls_client_ca, "PEM authorities that vouch for clients")->type_name("FILE");
  app.add_flag(
      "--insecure-loopback", options.insecure_loopback,
      "HOST:PORT on loopback without TLS is meant, though every user of this machine may steer the mesh: no warning");
  app.add_option("--max-clients", options.max_clients, "Connections of each address; more are refused")
      ->check(CLI::Range(1, 10'000))
      ->capture_default_str();
}

// `chosen` becomes what is to be run instead of the daemon.
void AddCertsCommands(CLI::App& app, CertsOptions& options, std::function<int()>& chosen) {
  CLI::App* certs = app.add_subcommand("certs", "Makes certificates for remote control by mutual TLS");
  certs->require_subcommand(1);
  const auto common = [&](CLI::App* command) {
    command->add_option("--dir", options.dir, "Default $XDG_CONFIG_HOME/imapmesh/tls")->type_name("DIR");
    command->add_option("--days", options.days, "That the certificate is valid")->capture_default_str();
  };
  CLI::App* init = certs->add_subcommand("init", "An authority, a server's and clients' certificates, in one step");
  CLI::App* server = certs->add_subcommand("server", "A new server certificate, in place of the old one");
  CLI::App* client = certs->add_subcommand("client", "A certificate for one more client");
  for (CLI::App* command : {init, server, client}) common(command);
  for (CLI::App* command : {init, server}) {
    command
        ->add_option("--host", options.hosts,
                     "A name or address of this machine, repeatable; default its host name; localhost is added")
        ->type_name("NAME")
        ->allow_extra_args(false);
  }
  CLI::Option* named = init->add_option(
      "--client", options.client, "The first client's name; default one of each role, \"viewer\" and \"operator\"");
  init->add_option("--role", options.role, "viewer (sees) or operator (sees and steers)")
      ->capture_default_str()
      ->needs(named);
  client->add_option("NAME", options.client, "The client's name")->required();
  client->add_option("--role", options.role, "viewer (sees) or operator (sees and steers)")->capture_default_str();
  client->add_flag("--renew", options.renew, "Replaces the certificate of that name");
  init->callback([&] { chosen = [&] { return InitCertificates(options, std::cout, std::cerr); }; });
  server->callback([&] { chosen = [&] { return IssueServerCertificate(options, std::cout, std::cerr); }; });
  client->callback([&] { chosen = [&] { return IssueClientCertificate(options, std::cout, std::cerr); }; });
}

int Main(int argc, char** argv) {
  DaemonOptions options;
  CertsOptions certs;
  std::string level;
  std::string format = "text";
  std::function<int()> chosen;
  CLI::App app("Keeps the same mail on any number of IMAP servers in agreement.", "imapmeshd");
  app.set_version_flag("--version", std::string("imapmeshd ") + kVersion);
  AddDaemonOptions(app, options, level, format);
  AddServerOptions(app, options.server);
  AddCertsCommands(app, certs, chosen);
  try {
    app.parse(argc, argv);
    if (!chosen && options.topology_path.empty()) throw CLI::RequiredError("--topology");
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitDone : kExitUsage;
  }
  if (chosen) return chosen();
  // Routine lines would run through the progress that is redrawn on a terminal.
  if (level.empty()) level = options.once && isatty(STDERR_FILENO) != 0 ? "warn" : "info";
  SetUpLogging(level, format == "json");
  return RunDaemon(std::move(options));
}

}  // namespace
}  // namespace imapmesh

int main(int argc, char** argv) {
  mallopt(M_ARENA_MAX, 1);  // one thread does nearly all: an arena for each would only be memory that is not shared
  setenv("GRPC_VERBOSITY", "NONE", 0);  // its complaints mean nothing to the reader of our log
  return imapmesh::Main(argc, argv);
}
