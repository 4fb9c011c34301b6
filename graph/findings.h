// Errors and warnings about one topology file, each with its place. Used by load.cc and validate.cc only. Any thread.
#ifndef IMAPMESH_GRAPH_FINDINGS_H_
#define IMAPMESH_GRAPH_FINDINGS_H_

#include <google/protobuf/text_format.h>

#include <string>
#include <string_view>
#include <vector>

namespace imapmesh {

// A message of the parsed file: where its fields stand, and what people call it ("replica[laptop].imap").
struct Place {
  const google::protobuf::TextFormat::ParseInfoTree* tree;
  const google::protobuf::Descriptor* descriptor;
  std::string path;
  google::protobuf::TextFormat::ParseLocation start;  // of the message itself; where a missing field is reported

  // The message in the field `name` of this one; `label` goes into its path in brackets, unless empty.
  Place Nested(std::string_view name, int index = -1, std::string_view label = "") const;
};

class Findings {
 public:
  explicit Findings(std::string_view file_name) : file_name_(file_name) {}

  // `text`: "what is wrong; what would be right". `field` "" is the message itself.
  void Error(const Place& place, std::string_view field, std::string_view text, int index = -1);
  void Warning(const Place& place, std::string_view field, std::string_view text, int index = -1);
  // Line and column from 0; an empty field is left out.
  void ErrorAt(int line, int column, std::string_view field, std::string_view text);

  bool ok() const { return errors_.empty(); }
  const std::vector<std::string>& warnings() const { return warnings_; }
  // In the order of the file, one a line.
  std::string Errors() const;

 private:
  struct Entry {
    int line;
    int column;
    std::string text;
  };
  Entry MakeEntry(int line, int column, std::string_view field, std::string_view text) const;
  Entry Locate(const Place& place, std::string_view field, std::string_view text, int index) const;

  std::string file_name_;
  std::vector<Entry> errors_;
  std::vector<std::string> warnings_;
};

}  // namespace imapmesh

#endif  // IMAPMESH_GRAPH_FINDINGS_H_
