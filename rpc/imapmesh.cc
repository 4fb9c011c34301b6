// imapmesh, the client: its command line (CONTRACT.md section 3).
#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <string>

#include "base/printable.h"
#include "rpc/client_commands.h"
#include "rpc/import_commands.h"
#include "rpc/topology_commands.h"
#include "rpc/version.h"

namespace imapmesh {
namespace {

struct Arguments {
  ClientOptions client;
  ImportOptions import;
  std::string file;
  std::string format = "text";
  std::string edge;
  v1::SyncRequest scope;
  bool watch = false;
  bool open_only = false;
  bool explain = false;
  std::string message_id;
  int64_t conflict = 0;
  v1::ResolveConflictRequest resolve;
};

int WithDaemon(const Arguments& arguments, const std::function<int(Client&)>& command) {
  const auto client = Client::Connect(arguments.client, std::cout, std::cerr);
  if (client.ok()) return command(**client);
  std::cerr << "imapmesh: " << Message(client.status()) << "\n";
  return absl::IsInvalidArgument(client.status()) ? kExitUsage : kExitFailed;
}

int PrintVersion(bool json) {
  if (json) {
    std::cout << "{\"version\":\"" << kVersion << "\"}\n";
  } else {
    std::cout << "imapmesh " << kVersion << "\n";
  }
  return kExitDone;
}

void AddTopologyCommands(CLI::App& app, Arguments& arguments, std::function<int()>& chosen) {
  CLI::App* check = app.add_subcommand("check", "Validates a topology file; prints who can receive what from whom");
  check->add_option("FILE", arguments.file, "The topology file")->required();
  check->callback(
      [&] { chosen = [&] { return CheckTopology(arguments.file, arguments.client.json, std::cout, std::cerr); }; });
  CLI::App* graph = app.add_subcommand("graph", "Draws a topology file");
  graph->add_option("FILE", arguments.file, "The topology file")->required();
  graph->add_option("--format", arguments.format, "text, dot or svg")->check(CLI::IsMember({"text", "dot", "svg"}));
  graph->callback([&] {
    chosen = [&] {
      return DrawTopology(arguments.file, arguments.format, arguments.client.json, std::cout, std::cerr);
    };
  });
  app.add_subcommand("version", "Prints the version")->callback([&] {
    chosen = [&] { return PrintVersion(arguments.client.json); };
  });
}

void AddImportCommands(CLI::App& app, Arguments& arguments, std::function<int()>& chosen) {
  ImportOptions& import = arguments.import;
  const auto add = [&](const char* name, const char* help,
                       int (*command)(const ImportOptions&, std::ostream&, std::ostream&)) {
    CLI::App* added = app.add_subcommand(name, help);
    added->add_option("CONFIG", import.config, "The other tool's configuration file")->required();
    added->add_option("--output", import.output, "The topology's file; default: it is printed");
    added->add_option("--state", import.state, "The state's file; default: the daemon's for this topology");
    added->add_option("--name", import.name, "Of the topology; default: after the configuration file");
    added->callback([&, command] {
      chosen = [&, command] {
        import.json = arguments.client.json;
        return command(import, std::cout, std::cerr);
      };
    });
    return added;
  };
  add("import-interimap", "Takes over InterIMAP's configuration, and its database as the starting state",
      ImportInterimap)
      ->add_option("DATABASE", import.database, "interimap's database, so that nothing is fetched again");
  add("import-mbsync", "Takes over mbsync's configuration of IMAP stores, and its sync state as the starting state",
      ImportMbsync);
}

void AddWatchingCommands(CLI::App& app, Arguments& arguments, std::function<int()>& chosen) {
  const auto run = [&](int (Client::*command)()) {
    return [&arguments, &chosen, command] {
      chosen = [&arguments, command] {
        return WithDaemon(arguments, [command](Client& client) { return (client.*command)(); });
      };
    };
  };
  CLI::App* status = app.add_subcommand("status", "Replicas, edges, mailboxes, problems");
  status->add_flag("--watch", arguments.watch, "Again every second");
  status->callback([&] {
    chosen = [&] { return WithDaemon(arguments, [&](Client& client) { return client.Status(arguments.watch); }); };
  });
  app.add_subcommand("topology", "The topology that runs now: replicas and edges")->callback(run(&Client::Topology));
  CLI::App* plan = app.add_subcommand("plan", "What would be done; changes nothing");
  plan->add_flag("--explain", arguments.explain, "Wave by wave, edge by edge, each operation with its reason");
  plan->callback([&] {
    chosen = [&] { return WithDaemon(arguments, [&](Client& client) { return client.Plan(arguments.explain); }); };
  });
  app.add_subcommand("events", "Streams what happens")->callback(run(&Client::Events));
  CLI::App* trace = app.add_subcommand("trace", "Where a message is on every replica, and why not where it is not");
  trace->add_option("MESSAGE-ID", arguments.message_id, "With or without angle brackets")->required();
  trace->callback([&] {
    chosen = [&] { return WithDaemon(arguments, [&](Client& client) { return client.Trace(arguments.message_id); }); };
  });
}

// Exactly one of them.
void AddDecisions(CLI::App& resolve, v1::ResolveConflictRequest& request) {
  using Request = v1::ResolveConflictRequest;
  CLI::App* decision = resolve.add_option_group("decision", "one of");
  decision->add_option_function<std::string>(
      "--keep",
      [&request](const std::string& replica) {
        request.set_decision(Request::KEEP);
        request.set_replica(replica);
      },
      "The side of this replica wins");
  const auto flag = [&](const char* name, Request::Decision decided, const char* help) {
    decision->add_flag_callback(
        name, [&request, decided] { request.set_decision(decided); }, help);
  };
  flag("--delete", Request::DELETE, "The message goes, on all replicas");
  flag("--restore", Request::RESTORE, "It stays, and comes back where it is missing");
  flag("--approve", Request::APPROVE, "What the brake holds goes on");
  flag("--reject", Request::REJECT, "What the brake holds is undone");
  flag("--retry", Request::RETRY, "What a server refused is sent once more");
  flag("--leave", Request::LEAVE, "It stays out there");
  decision->require_option(1);
}

// "" for the number of a conflict.
std::string CheckNumber(std::string& text) {
  const bool digits = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
  if (digits && text.size() < 18 && text.find_first_not_of('0') != std::string::npos) return "";
  return Printable(text) + " is not the number of a conflict; imapmesh conflicts lists them";
}

void AddConflictCommands(CLI::App& app, Arguments& arguments, std::function<int()>& chosen) {
  CLI::App* conflicts = app.add_subcommand("conflicts", "The recorded conflicts");
  conflicts->require_subcommand(0, 1);
  const auto list = [&] {
    chosen = [&] {
      return WithDaemon(arguments, [&](Client& client) { return client.Conflicts(arguments.open_only); });
    };
  };
  conflicts->add_flag("--open", arguments.open_only, "Only those that wait for a decision");
  conflicts->add_subcommand("list", "Lists them")->fallthrough();
  CLI::App* show = conflicts->add_subcommand("show", "All that is known of one, and what can be decided");
  CLI::App* resolve = conflicts->add_subcommand("resolve", "Decides one; carried out on all replicas");
  for (CLI::App* command : {show, resolve}) {
    command->fallthrough();
    command->add_option("ID", arguments.conflict, "Of the conflict")
        ->required()
        ->check(CLI::Validator(CheckNumber, ""));
  }
  AddDecisions(*resolve, arguments.resolve);
  conflicts->callback([&, show, resolve, list] {
    if (show->parsed()) {
      chosen = [&] {
        return WithDaemon(arguments, [&](Client& each) { return each.ShowConflict(arguments.conflict); });
      };
    } else if (resolve->parsed()) {
      arguments.resolve.set_id(arguments.conflict);
      chosen = [&] {
        return WithDaemon(arguments, [&](Client& client) { return client.ResolveConflict(arguments.resolve); });
      };
    } else {
      list();
    }
  });
}

void AddSteeringCommands(CLI::App& app, Arguments& arguments, std::function<int()>& chosen) {
  CLI::App* sync = app.add_subcommand("sync", "Syncs now, shows progress, returns when converged");
  sync->add_option("--replica", *arguments.scope.mutable_replica(),
                   "Only this replica, with those that it has edges with");
  sync->add_option("--edge", *arguments.scope.mutable_edge(), "Only this edge, A:B");
  sync->add_option("--mailbox", *arguments.scope.mutable_mailbox(), "Only this mailbox");
  sync->callback([&] {
    chosen = [&] { return WithDaemon(arguments, [&](Client& client) { return client.Sync(arguments.scope); }); };
  });
  CLI::App* pause = app.add_subcommand("pause", "Nothing flows along an edge until it is resumed");
  pause->add_option("EDGE", arguments.edge, "A:B")->required();
  pause->callback([&] {
    chosen = [&] { return WithDaemon(arguments, [&](Client& client) { return client.Pause(arguments.edge); }); };
  });
  CLI::App* resume = app.add_subcommand("resume", "Takes a pause back");
  resume->add_option("EDGE", arguments.edge, "A:B")->required();
  resume->callback([&] {
    chosen = [&] { return WithDaemon(arguments, [&](Client& client) { return client.Resume(arguments.edge); }); };
  });
  app.add_subcommand("reload", "Reads the topology file again; a bad one is refused")->callback([&] {
    chosen = [&] { return WithDaemon(arguments, [](Client& client) { return client.Reload(); }); };
  });
}

int Main(int argc, char** argv) {
  Arguments arguments;
  std::function<int()> chosen;
  CLI::App app("Watches and steers a running imapmeshd.", "imapmesh");
  app.set_version_flag("--version", std::string("imapmesh ") + kVersion);
  app.add_option("--address", arguments.client.address,
                 "unix:PATH or HOST:PORT; default: the only daemon of this user");
  app.add_flag("--json", arguments.client.json, "Prints one JSON object; for events and --watch one a line");
  app.add_option("--tls-dir", arguments.client.tls_dir,
                 "For HOST:PORT: the folder of one client that imapmeshd certs made");
  app.add_option("--tls-ca", arguments.client.tls_ca, "PEM authorities that vouch for the daemon");
  app.add_option("--tls-cert", arguments.client.tls_cert, "PEM certificate of this client");
  app.add_option("--tls-key", arguments.client.tls_key, "PEM key of the certificate");
  app.require_subcommand(1);
  app.fallthrough();  // --json and --address also after the command
  AddTopologyCommands(app, arguments, chosen);
  AddImportCommands(app, arguments, chosen);
  AddWatchingCommands(app, arguments, chosen);
  AddConflictCommands(app, arguments, chosen);
  AddSteeringCommands(app, arguments, chosen);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0 && app.get_subcommands().empty() && !app.remaining().empty()) {
      std::cerr << "imapmesh: there is no command " << Printable(app.remaining().front())
                << "; imapmesh --help lists them\n";
      return kExitUsage;
    }
    return app.exit(error) == 0 ? kExitDone : kExitUsage;
  }
  return chosen();
}

}  // namespace
}  // namespace imapmesh

int main(int argc, char** argv) {
  setenv("GRPC_VERBOSITY", "NONE", 0);  // what it would complain of is told in our own words
  return imapmesh::Main(argc, argv);
}
