// namespace_prefix, name_map and keyword_map: what mailboxes and keywords of the mesh are called at a replica.
#include <algorithm>
#include <cctype>

#include "base/printable.h"
#include "base/status.h"
#include "graph/validate.h"

namespace imapmesh {
namespace {

constexpr int kNameBytesMax = 500;
constexpr int kMappingsMax = 1000;
constexpr int kKeywordBytesMax = 100;

// What is wrong with a mailbox name and how to mend it; "" when nothing is.
std::string NameFault(const std::string& name) {
  if (name.empty()) return "is empty; write a mailbox name, levels separated by \"/\"";
  if (name.size() > kNameBytesMax) return absl::StrFormat("is longer than %d bytes; use a shorter name", kNameBytesMax);
  if (Printable(name, name.size() + 1) != name) return "is no printable UTF-8, as mailbox names are; write it so";
  const bool empty_level = name.front() == '/' || name.back() == '/' || name.find("//") != std::string::npos;
  if (empty_level) {
    return absl::StrFormat("\"%s\" has an empty level; write the levels with one \"/\" between them",
                           Printable(name, 80));
  }
  return "";
}

// The same of a keyword: an atom (RFC 3501 section 9, flag-keyword).
std::string KeywordFault(const std::string& name) {
  if (name.empty()) return "is empty; write a keyword, such as \"$Work\"";
  if (name.front() == '\\') {
    return "begins with a backslash as system flags do, which are the same everywhere; only keywords are mapped";
  }
  const bool atom = std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return c > 0x20 && c < 0x7f && std::string_view("(){%*\"\\]").find(static_cast<char>(c)) == std::string_view::npos;
  });
  if (!atom) {
    return absl::StrFormat("\"%s\" is no keyword; use ASCII without spaces and (){%%*\"\\]", Printable(name, 80));
  }
  if (name.size() > kKeywordBytesMax) {
    return absl::StrFormat("is longer than %d bytes; use a shorter name", kKeywordBytesMax);
  }
  return "";
}

bool EqualInAnyCase(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

bool IsInboxOrBelow(std::string_view name) {
  constexpr std::string_view kInbox = "INBOX";
  const std::string_view first = name.substr(0, name.find('/'));
  return std::equal(first.begin(), first.end(), kInbox.begin(), kInbox.end(),
                    [](unsigned char a, unsigned char b) { return std::toupper(a) == b; });
}

class NamesValidator {
 public:
  NamesValidator(const v1::Replica& replica, const Place& place, Findings& findings)
      : replica_(replica), place_(place), findings_(findings) {}

  void Run() {
    if (!replica_.namespace_prefix().empty()) {
      const std::string fault = NameFault(replica_.namespace_prefix());
      if (!fault.empty()) findings_.Error(place_, "namespace_prefix", fault);
    }
    if (replica_.name_map_size() > kMappingsMax) {
      findings_.Error(place_, "name_map",
                      absl::StrFormat("%d names; at most %d", replica_.name_map_size(), kMappingsMax), kMappingsMax);
      return;
    }
    for (int i = 0; i < replica_.name_map_size(); ++i) CheckMapping(i);
  }

  void RunKeywords() {
    if (replica_.keyword_map_size() > kMappingsMax) {
      findings_.Error(place_, "keyword_map",
                      absl::StrFormat("%d keywords; at most %d", replica_.keyword_map_size(), kMappingsMax),
                      kMappingsMax);
      return;
    }
    for (int i = 0; i < replica_.keyword_map_size(); ++i) {
      const v1::KeywordMap& map = replica_.keyword_map(i);
      const Place place = place_.Nested("keyword_map", i, absl::StrFormat("%d", i + 1));
      CheckKeyword(place, "mesh", map.mesh());
      CheckKeyword(place, "here", map.here());
      for (int earlier = 0; earlier < i; ++earlier) {
        const v1::KeywordMap& other = replica_.keyword_map(earlier);
        CheckKeywordPair(place, "mesh", map.mesh(), other.mesh());
        CheckKeywordPair(place, "here", map.here(), other.here());
      }
    }
  }

 private:
  void CheckMapping(int i) {
    const v1::NameMap& map = replica_.name_map(i);
    const Place place = place_.Nested("name_map", i, absl::StrFormat("%d", i + 1));
    CheckSide(place, "mesh", map.mesh());
    CheckSide(place, "here", map.here());
    for (int earlier = 0; earlier < i; ++earlier) {
      const v1::NameMap& other = replica_.name_map(earlier);
      CheckPair(place, "mesh", map.mesh(), other.mesh());
      CheckPair(place, "here", map.here(), other.here());
    }
  }

  void CheckSide(const Place& place, std::string_view field, const std::string& name) {
    const std::string fault = NameFault(name);
    if (!fault.empty()) {
      findings_.Error(place, field, fault);
    } else if (IsInboxOrBelow(name)) {
      findings_.Error(place, field,
                      "INBOX and what lies below it cannot be mapped; namespace_prefix puts a whole account, INBOX "
                      "included, under another name");
    }
  }

  void CheckKeyword(const Place& place, std::string_view field, const std::string& name) {
    const std::string fault = KeywordFault(name);
    if (!fault.empty()) findings_.Error(place, field, fault);
  }

  void CheckKeywordPair(const Place& place, std::string_view field, const std::string& name, const std::string& other) {
    if (name.empty() || !EqualInAnyCase(name, other)) return;
    findings_.Error(place, field, absl::StrFormat("\"%s\" is mapped twice; keep one of the two", Printable(name, 80)));
  }

  // Each mailbox has one name on each side, its children lie within it.
  void CheckPair(const Place& place, std::string_view field, const std::string& name, const std::string& other) {
    const auto within = [](const std::string& inner, const std::string& outer) {
      return inner.starts_with(outer) && (inner.size() == outer.size() || inner[outer.size()] == '/');
    };
    if (name.empty() || other.empty()) return;
    if (name == other) {
      findings_.Error(place, field,
                      absl::StrFormat("\"%s\" is mapped twice; keep one of the two", Printable(name, 80)));
    } else if (within(name, other) || within(other, name)) {
      findings_.Error(place, field,
                      absl::StrFormat("\"%s\" and \"%s\" lie one within the other, and a mapping carries the children; "
                                      "map only the upper one",
                                      Printable(name, 80), Printable(other, 80)));
    }
  }

  const v1::Replica& replica_;
  const Place& place_;
  Findings& findings_;
};

}  // namespace

void ValidateMailboxNames(const v1::Replica& replica, const Place& place, Findings& findings) {
  NamesValidator validator(replica, place, findings);
  validator.Run();
  validator.RunKeywords();
}

}  // namespace imapmesh
