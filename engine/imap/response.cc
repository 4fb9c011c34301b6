#include "engine/imap/response.h"

#include <algorithm>
#include <utility>

#include "base/printable.h"
#include "engine/imap/response_parser.h"

namespace imapmesh::imap {
namespace {

std::optional<StatusKind> KindOf(std::string_view word) {
  if (EqualsInAnyCase(word, "OK")) return StatusKind::kOk;
  if (EqualsInAnyCase(word, "NO")) return StatusKind::kNo;
  if (EqualsInAnyCase(word, "BAD")) return StatusKind::kBad;
  if (EqualsInAnyCase(word, "BYE")) return StatusKind::kBye;
  if (EqualsInAnyCase(word, "PREAUTH")) return StatusKind::kPreauth;
  return std::nullopt;
}

StatusResponse ParseStatus(ResponseParser& parser, std::string_view tag, StatusKind kind) {
  StatusResponse response;
  response.tag = std::string(tag);
  response.kind = kind;
  ParseStatusText(parser.TakeRest(), &response);
  return response;
}

std::vector<std::string> RemainingWords(ResponseParser& parser) {
  std::vector<std::string> words;
  for (parser.SkipSpaces(); !parser.AtEnd(); parser.SkipSpaces()) {
    if (words.size() == kWordsMax) throw Malformed{"fewer words"};
    words.push_back(InCapitals(parser.Atom("a word")));
  }
  return words;
}

// One character, or NIL.
std::string ParseDelimiter(ResponseParser& parser) {
  const std::string delimiter = parser.NString("a hierarchy delimiter").value_or("");
  if (delimiter.size() > 1) throw Malformed{"a hierarchy delimiter of one character"};
  return delimiter;
}

ListResponse ParseList(ResponseParser& parser, bool subscriptions_only) {
  ListResponse list;
  list.subscriptions_only = subscriptions_only;
  list.attributes = parser.Words("mailbox attributes");
  parser.SkipSpaces();
  list.delimiter = ParseDelimiter(parser);
  parser.SkipSpaces();
  list.mailbox = parser.AString("a mailbox name");
  parser.SkipSpaces();
  if (!parser.TryTake('(')) return list;
  // RFC 5258 section 6: a tag and a value, again and again.
  for (parser.SkipSpaces(); !parser.TryTake(')'); parser.SkipSpaces()) {
    const std::string name = parser.AString("an extended data item");
    parser.SkipSpaces();
    if (EqualsInAnyCase(name, "OLDNAME") && parser.Peek() == '(') {
      const std::vector<std::string> words = parser.Words("an old name");
      if (!words.empty()) list.old_name = words[0];
    } else if (EqualsInAnyCase(name, "CHILDINFO") && parser.Peek() == '(') {
      list.child_info = parser.Words("CHILDINFO");
    } else {
      parser.SkipValue();
    }
  }
  return list;
}

// "(id)" or "id".
std::string ParseObjectId(ResponseParser& parser) {
  if (parser.Peek() != '(') return parser.NString("an identifier").value_or("");
  const std::vector<std::string> words = parser.Words("an identifier");
  return words.empty() ? "" : words[0];
}

void ParseStatusItem(ResponseParser& parser, std::string_view name, MailboxStatusResponse* status) {
  const auto number32 = [&] { return static_cast<uint32_t>(parser.Number(kNumber32Max, "a 32-bit number")); };
  if (name == "MESSAGES") {
    status->messages = number32();
  } else if (name == "UNSEEN") {
    status->unseen = number32();
  } else if (name == "UIDNEXT") {
    status->uid_next = Uid(number32());
  } else if (name == "UIDVALIDITY") {
    status->uid_validity = UidValidity(number32());
  } else if (name == "HIGHESTMODSEQ") {
    status->highest_modseq = ModSeq(parser.Number(kNumber63Max, "a 63-bit number"));
  } else if (name == "MAILBOXID" || name == "X-GUID") {
    status->mailbox_id = ParseObjectId(parser);
  } else {
    parser.SkipValue();
  }
}

MailboxStatusResponse ParseMailboxStatus(ResponseParser& parser) {
  MailboxStatusResponse status;
  status.mailbox = parser.AString("a mailbox name");
  parser.SkipSpaces();
  parser.Take('(', "STATUS items");
  for (parser.SkipSpaces(); !parser.TryTake(')'); parser.SkipSpaces()) {
    const std::string name = InCapitals(parser.Atom("a STATUS item"));
    parser.SkipSpaces();
    if (parser.Peek() == ')') {  // some servers write nothing for no HIGHESTMODSEQ
      if (name == "HIGHESTMODSEQ") status.highest_modseq = ModSeq(0);
      continue;
    }
    ParseStatusItem(parser, name, &status);
  }
  return status;
}

UidSet ParseUidSet(std::string_view text, const char* expected) {
  std::optional<UidSet> set = UidSet::Parse(text);
  if (!set) throw Malformed{expected};
  return *std::move(set);
}

VanishedResponse ParseVanished(ResponseParser& parser) {
  VanishedResponse vanished;
  try {
    if (parser.Peek() == '(') {
      const std::vector<std::string> words = parser.Words("(EARLIER)");
      vanished.earlier = words.size() == 1 && EqualsInAnyCase(words[0], "EARLIER");
      if (!vanished.earlier) throw Malformed{"(EARLIER)"};
      parser.SkipSpaces();
    }
    if (!parser.AtEnd()) vanished.uids = ParseUidSet(parser.Atom("a UID set"), "a UID set");
    parser.SkipSpaces();
    if (!parser.AtEnd()) throw Malformed{"the end of VANISHED"};
  } catch (const Malformed&) {
    vanished.malformed = true;
    vanished.uids = UidSet();
  }
  return vanished;
}

// What stands between "BODY[" and "]", in capitals.
std::string ParseSection(ResponseParser& parser) {
  std::string section;
  while (!parser.TryTake(']')) {
    if (parser.AtLiteral() || parser.Peek() == '"') {
      section += InCapitals(parser.AString("a section"));
    } else if (parser.TryTake(' ')) {
      section += ' ';
    } else if (parser.TryTake('(')) {
      section += '(';
    } else if (parser.TryTake(')')) {
      section += ')';
    } else {
      // An atom may run into the bracket: character by character.
      const char c = parser.Peek();
      if (c == '\0') throw Malformed{"the end of a section"};
      parser.Take(c, "a section");
      section += InCapitals(std::string_view(&c, 1));
    }
  }
  return section;
}

BodySection ParseBody(ResponseParser& parser) {
  BodySection body;
  body.section = ParseSection(parser);
  if (parser.TryTake('<')) {
    std::string_view origin = parser.Atom("a byte offset");
    if (origin.back() != '>') throw Malformed{"a byte offset"};
    origin.remove_suffix(1);
    body.origin = ParseNumber(origin, kNumber63Max);
    if (!body.origin) throw Malformed{"a byte offset"};
  }
  parser.SkipSpaces();
  if (std::optional<Literal> data = parser.MessageData()) {
    body.bytes = std::move(data->bytes);
    body.body = std::move(data->body);
  }
  return body;
}

void ParseFetchItem(ResponseParser& parser, std::string_view name, FetchResponse* fetch) {
  if (name == "UID") {
    const Uid uid(static_cast<uint32_t>(parser.Number(kNumber32Max, "a UID")));
    if (uid == Uid()) throw Malformed{"a UID above 0"};
    fetch->uid = uid;
  } else if (name == "FLAGS") {
    fetch->flags = parser.Words("flags");
  } else if (name == "INTERNALDATE") {
    fetch->internal_date = parser.NString("a date");
  } else if (name == "RFC822.SIZE") {
    fetch->size = parser.Number(kNumber63Max, "a size");
  } else if (name == "MODSEQ") {
    const std::vector<std::string> words = parser.Words("a mod-sequence");
    const std::optional<uint64_t> number =
        words.size() == 1 ? ParseNumber(words[0], kNumber63Max) : std::optional<uint64_t>();
    if (!number) throw Malformed{"a mod-sequence"};
    fetch->modseq = ModSeq(*number);
  } else if (name == "X-GUID") {
    fetch->guid = parser.NString("a GUID").value_or("");
  } else if (name == "EMAILID") {
    fetch->email_id = ParseObjectId(parser);
  } else if (name == "X-GM-MSGID") {
    fetch->gmail_id = parser.NString("a number").value_or("");
  } else {
    parser.SkipValue();
  }
}

FetchResponse ParseFetch(ResponseParser& parser, uint32_t sequence_number) {
  FetchResponse fetch;
  fetch.sequence_number = sequence_number;
  parser.Take('(', "FETCH items");
  for (parser.SkipSpaces(); !parser.TryTake(')'); parser.SkipSpaces()) {
    const std::string name = InCapitals(parser.Atom("a FETCH item", /*stop_at_bracket=*/true));
    const bool has_section = parser.TryTake('[');
    if (has_section && (name == "BODY" || name == "BINARY")) {
      fetch.sections.push_back(ParseBody(parser));
      continue;
    }
    if (has_section) ParseSection(parser);  // of an item nobody asked for, such as BINARY.SIZE[1]
    parser.SkipSpaces();
    ParseFetchItem(parser, name, &fetch);
  }
  return fetch;
}

std::vector<NamespaceEntry> ParseNamespaceEntries(ResponseParser& parser) {
  std::vector<NamespaceEntry> entries;
  parser.SkipSpaces();
  if (!parser.TryTake('(')) {
    if (!EqualsInAnyCase(parser.Atom("a namespace or NIL"), "NIL")) throw Malformed{"a namespace or NIL"};
    return entries;
  }
  for (parser.SkipSpaces(); !parser.TryTake(')'); parser.SkipSpaces()) {
    parser.Take('(', "a namespace");
    NamespaceEntry entry;
    entry.prefix = parser.NString("a namespace prefix").value_or("");
    parser.SkipSpaces();
    entry.delimiter = ParseDelimiter(parser);
    for (parser.SkipSpaces(); !parser.TryTake(')'); parser.SkipSpaces()) parser.SkipValue();
    entries.push_back(std::move(entry));
  }
  return entries;
}

NamespaceResponse ParseNamespace(ResponseParser& parser) {
  NamespaceResponse namespaces;
  namespaces.personal = ParseNamespaceEntries(parser);
  namespaces.other_users = ParseNamespaceEntries(parser);
  namespaces.shared = ParseNamespaceEntries(parser);
  return namespaces;
}

IdResponse ParseId(ResponseParser& parser) {
  IdResponse id;
  if (!parser.TryTake('(')) return id;
  for (parser.SkipSpaces(); !parser.TryTake(')'); parser.SkipSpaces()) {
    if (id.fields.size() == kWordsMax) throw Malformed{"fewer fields of ID"};
    std::string name = parser.AString("a field of ID");
    std::transform(name.begin(), name.end(), name.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; });
    parser.SkipSpaces();
    if (std::optional<std::string> value = parser.NString("a value of ID")) id.fields[name] = *std::move(value);
  }
  return id;
}

SearchResponse ParseSearch(ResponseParser& parser) {
  SearchResponse search;
  std::vector<Uid> numbers;
  for (parser.SkipSpaces(); !parser.AtEnd(); parser.SkipSpaces()) {
    if (parser.Peek() == '(') {
      const std::vector<std::string> words = parser.Words("(MODSEQ number)");
      if (words.size() == 2 && EqualsInAnyCase(words[0], "MODSEQ")) {
        if (const auto modseq = ParseNumber(words[1], kNumber63Max)) search.modseq = ModSeq(*modseq);
      }
      continue;
    }
    numbers.emplace_back(static_cast<uint32_t>(parser.Number(kNumber32Max, "a message number")));
  }
  search.numbers = UidSet(numbers);
  return search;
}

SearchResponse ParseExtendedSearch(ResponseParser& parser) {
  SearchResponse search;
  if (parser.Peek() == '(') {
    const std::vector<std::string> words = parser.Words("(TAG tag)");
    if (words.size() == 2) search.tag = words[1];
  }
  for (parser.SkipSpaces(); !parser.AtEnd(); parser.SkipSpaces()) {
    const std::string name = InCapitals(parser.Atom("a search result"));
    parser.SkipSpaces();
    const auto number32 = [&] { return static_cast<uint32_t>(parser.Number(kNumber32Max, "a number")); };
    if (name == "UID") {
      search.uid = true;
    } else if (name == "ALL") {
      search.numbers = ParseUidSet(parser.Atom("a set of numbers"), "a set of numbers");
    } else if (name == "MIN") {
      search.min = number32();
    } else if (name == "MAX") {
      search.max = number32();
    } else if (name == "COUNT") {
      search.count = number32();
    } else if (name == "MODSEQ") {
      search.modseq = ModSeq(parser.Number(kNumber63Max, "a mod-sequence"));
    } else {
      parser.SkipValue();
    }
  }
  return search;
}

MetadataResponse ParseMetadata(ResponseParser& parser) {
  MetadataResponse metadata;
  metadata.mailbox = parser.AString("a mailbox");
  parser.SkipSpaces();
  if (!parser.TryTake('(')) return metadata;
  for (parser.SkipSpaces(); !parser.TryTake(')'); parser.SkipSpaces()) {
    if (metadata.entries.size() == kWordsMax) throw Malformed{"fewer entries of METADATA"};
    std::string name = parser.AString("an entry");
    parser.SkipSpaces();
    parser.TryTake('~');  // literal8
    metadata.entries.emplace_back(std::move(name), parser.NString("a value"));
  }
  return metadata;
}

Response ParseNumbered(ResponseParser& parser, uint32_t number) {
  const std::string name = InCapitals(parser.Atom("a response name"));
  parser.SkipSpaces();
  if (name == "EXISTS") return ExistsResponse{number};
  if (name == "RECENT") return RecentResponse{number};
  if (name == "EXPUNGE") return ExpungeResponse{number};
  if (name == "FETCH") return ParseFetch(parser, number);
  return UnknownResponse{name};
}

Response ParseUntagged(ResponseParser& parser) {
  const std::string_view word = parser.Atom("a response name");
  parser.SkipSpaces();
  if (const std::optional<StatusKind> kind = KindOf(word)) return ParseStatus(parser, "", *kind);
  if (const std::optional<uint64_t> number = ParseNumber(word, kNumber32Max)) {
    return ParseNumbered(parser, static_cast<uint32_t>(*number));
  }
  const std::string name = InCapitals(word);
  if (name == "CAPABILITY") return CapabilityResponse{RemainingWords(parser)};
  if (name == "ENABLED") return EnabledResponse{RemainingWords(parser)};
  if (name == "LIST" || name == "LSUB") return ParseList(parser, name == "LSUB");
  if (name == "STATUS") return ParseMailboxStatus(parser);
  if (name == "FLAGS") return FlagsResponse{parser.Words("flags")};
  if (name == "VANISHED") return ParseVanished(parser);
  if (name == "NAMESPACE") return ParseNamespace(parser);
  if (name == "ID") return ParseId(parser);
  if (name == "SEARCH") return ParseSearch(parser);
  if (name == "ESEARCH") return ParseExtendedSearch(parser);
  if (name == "METADATA") return ParseMetadata(parser);
  return UnknownResponse{name};
}

Response Parse(RawResponse& raw) {
  ResponseParser parser(raw);
  if (parser.TryTake('+')) {
    parser.SkipSpaces();
    return ContinuationResponse{std::string(parser.TakeRest())};
  }
  const std::string_view tag = parser.Atom("a tag");
  parser.SkipSpaces();
  if (tag == "*") return ParseUntagged(parser);
  const std::optional<StatusKind> kind = KindOf(parser.Atom("OK, NO or BAD"));
  if (!kind || *kind == StatusKind::kBye || *kind == StatusKind::kPreauth) throw Malformed{"OK, NO or BAD"};
  return ParseStatus(parser, tag, *kind);
}

}  // namespace

bool ListResponse::HasAttribute(std::string_view attribute) const {
  return std::any_of(attributes.begin(), attributes.end(),
                     [&](const std::string& other) { return EqualsInAnyCase(other, attribute); });
}

absl::StatusOr<Response> ParseResponse(RawResponse raw) {
  if (raw.texts.size() != raw.literals.size() + 1) return absl::InternalError("a response with a literal but no end");
  try {
    return Parse(raw);
  } catch (const Malformed& malformed) {
    return Error(absl::StatusCode::kDataLoss, "the server sent what is no IMAP (expected %s): \"%s\"",
                 malformed.expected, Printable(raw.texts[0], 200));
  }
}

}  // namespace imapmesh::imap
