// `imapmeshd certs`: the certificates of the daemon's mutual TLS, kept as files.
//
//   DIR/ca.pem  DIR/ca.key            the authority; its key is needed to issue more, and by nothing that runs
//   DIR/server.pem  DIR/server.key    the daemon's
//   DIR/clients/NAME/ca.pem  client.pem  client.key    all that one client needs, a folder to carry to its machine
//
// Folders are made mode 0700, keys 0600; nothing is overwritten unless said. rpc/imapmeshd.cc parses the command line.
// Blocking; one thread. Each returns an exit code of CONTRACT.md section 2 and says on `out` what it made.
#ifndef IMAPMESH_RPC_CERTS_COMMAND_H_
#define IMAPMESH_RPC_CERTS_COMMAND_H_

#include <ostream>
#include <string>
#include <vector>

#include "rpc/access.h"

namespace imapmesh {

struct CertsOptions {
  std::string dir;                 // "": DefaultCertificateFolder()
  std::vector<std::string> hosts;  // this machine's name when empty; localhost is always added
  std::string client;              // for init: "" makes one of each role, named after it
  std::string role = "viewer";
  int days = 730;      // that server and client certificates are valid, 1 to 3650; the authority: ten years
  bool renew = false;  // for a client: replaces the one of that name
};

// Authority, server and clients in one step. Refused where there is an authority already.
int InitCertificates(const CertsOptions& options, std::ostream& out, std::ostream& error);

// One more client of the authority in `dir`.
int IssueClientCertificate(const CertsOptions& options, std::ostream& out, std::ostream& error);

// A new server certificate of the authority in `dir`, in place of the old one: renewed, or for other host names.
int IssueServerCertificate(const CertsOptions& options, std::ostream& out, std::ostream& error);

}  // namespace imapmesh

#endif  // IMAPMESH_RPC_CERTS_COMMAND_H_
