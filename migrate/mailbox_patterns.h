// How other tools select mailboxes, as patterns of the mesh: UTF-8, "/" between levels, `*` and `%`.
//
// Pure; any thread.
#ifndef IMAPMESH_MIGRATE_MAILBOX_PATTERNS_H_
#define IMAPMESH_MIGRATE_MAILBOX_PATTERNS_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace imapmesh {

// A name or pattern in modified UTF-7 (RFC 3501 section 5.1.3) with `delimiter` between its levels, in the mesh's
// spelling. nullopt when it is not valid.
std::optional<std::string> PatternFromServer(std::string_view raw, char delimiter);

// InterIMAP's list-mailbox: words, or strings in double quotes with C's escapes, in which \x00 stands between levels.
// nullopt when it cannot be read.
std::optional<std::vector<std::string>> ParseListMailbox(std::string_view value);

// InterIMAP's ignore-mailbox, a Perl regular expression: the patterns that match the same names. nullopt when patterns
// cannot say it: they know text, groups, alternatives, `.*`, `^` and `$` of an expression.
std::optional<std::vector<std::string>> PatternsOfExpression(std::string_view expression);

}  // namespace imapmesh

#endif  // IMAPMESH_MIGRATE_MAILBOX_PATTERNS_H_
