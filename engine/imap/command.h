// One IMAP command while it is put together: the text, the strings and the literals in it.
//
// The functions in commands.h build them, Session::Send takes them. A value; the engine thread. Invariant: a string
// given to String, Quoted or a literal can never become a command of its own, whatever is in it; Text is for what the
// program itself wrote or checked.
#ifndef IMAPMESH_ENGINE_IMAP_COMMAND_H_
#define IMAPMESH_ENGINE_IMAP_COMMAND_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "engine/net/body.h"

namespace imapmesh::imap {

// DESIGN.md section 7, "LITERAL+ injection".
enum class LiteralSafety {
  kMayBeRefused,     // synchronising literals only: the server may answer before it reads them
  kCannotBeRefused,  // the caller knows that nothing before the literal is refused: LITERAL+ or LITERAL- is used
};

class Command {
 public:
  // `name` ("UID FETCH") begins the command and is all that errors tell of it.
  explicit Command(std::string_view name, LiteralSafety safety = LiteralSafety::kMayBeRefused);

  // Appends `text` as it is: REQUIRES no CR, LF or NUL (else status() is kInvalidArgument and Send refuses).
  Command& Text(std::string_view text);
  // A mailbox name, a user name: quoted where that can carry it, else a literal. NUL is refused.
  Command& String(std::string_view value);
  // The message as a literal.
  Command& Message(std::shared_ptr<const Body> body);

  const std::string& name() const { return name_; }
  LiteralSafety safety() const { return safety_; }
  const absl::Status& status() const { return status_; }

  // A piece is a text, then at most one literal (bytes, or a message).
  struct Piece {
    std::string text;
    bool has_literal = false;
    std::string bytes;
    std::shared_ptr<const Body> body;
  };
  const std::vector<Piece>& pieces() const { return pieces_; }

 private:
  std::string name_;
  LiteralSafety safety_;
  std::vector<Piece> pieces_;
  absl::Status status_;
};

// RFC 3501 section 9: what may stand as a flag ("\Seen", "$Forwarded"): an atom, with a backslash or without.
bool IsFlag(std::string_view flag);
// "dd-Mon-yyyy hh:mm:ss +zzzz", in range.
bool IsDateTime(std::string_view text);

}  // namespace imapmesh::imap

#endif  // IMAPMESH_ENGINE_IMAP_COMMAND_H_
