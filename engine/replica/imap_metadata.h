// The annotations of a replica's mailboxes: asked for in the same exchange as a look, or by themselves.
//
// imap_replica.cc calls it with a leased session; names are the mesh's. Engine thread.
#ifndef IMAPMESH_ENGINE_REPLICA_IMAP_METADATA_H_
#define IMAPMESH_ENGINE_REPLICA_IMAP_METADATA_H_

#include <asio/awaitable.hpp>
#include <map>
#include <string>
#include <vector>

#include "base/status.h"
#include "engine/imap/commands_metadata.h"
#include "engine/imap/session.h"
#include "engine/replica/mailbox_names.h"
#include "engine/replica/replica.h"

namespace imapmesh {

// By mailbox of the mesh.
using MetadataByMailbox = std::map<std::string, MailboxMetadata>;

class MetadataLook {
 public:
  explicit MetadataLook(const MailboxNames& names) : names_(names) {}

  // Queues the questions about the first GetMetadata::kTogether of `mailboxes`; nothing where the server has no
  // METADATA.
  absl::Status Send(imap::Session& session, const std::vector<std::string>& mailboxes);
  // For what comes while another command is awaited; this must outlive that.
  imap::ResponseHandler handler() {
    return [this](imap::Response& response) { return command_.Take(response); };
  }
  asio::awaitable<absl::StatusOr<MetadataByMailbox>> Await(imap::Session& session);

 private:
  const MailboxNames& names_;
  imap::GetMetadata command_;
};

// Of any number of mailboxes.
asio::awaitable<absl::StatusOr<MetadataByMailbox>> LookAtMetadata(imap::Session& session, const MailboxNames& names,
                                                                  std::vector<std::string> mailboxes);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_REPLICA_IMAP_METADATA_H_
