#include "eval/support/yaml_reader.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>

#include "eval/support/nearest.h"
#include "harness/base/error.h"
#include "harness/io/file.h"
#include "harness/io/utf8.h"

namespace quantref {
namespace {

constexpr size_t kMaxConfigBytes = size_t{1} << 20;
// Aliases let a short file stand for a huge one, or contain itself; no config comes near these.
constexpr size_t kMaxDepth = 32, kMaxNodes = 100'000;

std::string Describe(const YAML::Node& node) {
  if (!node.IsDefined() || node.IsNull()) return "nothing";
  if (node.IsScalar()) return fmt::format("'{}'", node.Scalar());
  return node.IsMap() ? "a map" : "a list";
}

std::string Position(const std::string& file, const YAML::Mark& mark) {
  return mark.is_null() ? file : fmt::format("{}:{}", file, mark.line + 1);
}

// Refuses what yaml-cpp takes without a word: a key that stands twice (it keeps both, and which one
// counts is a matter of luck), keys that are no scalars, and aliases without end.
class Validator {
 public:
  explicit Validator(std::string file) : file_(std::move(file)) {}

  void Check(const YAML::Node& node, size_t depth = 0) {
    if (depth > kMaxDepth || ++nodes_ > kMaxNodes)
      throw Error("nested too deeply, or larger than any config", Position(file_, node.Mark()));
    if (node.IsScalar()) CheckText(node.Scalar(), Position(file_, node.Mark()));
    if (node.IsMap()) CheckMap(node, depth);
    if (!node.IsSequence()) return;
    for (const YAML::Node& item : node) Check(item, depth + 1);
  }

 private:
  // It comes into records and messages.
  static void CheckText(const std::string& text, const std::string& where) {
    if (FindInvalidUtf8(text)) throw Error("expected UTF-8, found an invalid byte", where);
  }

  void CheckMap(const YAML::Node& map, size_t depth) {
    std::set<std::string> seen;
    for (const auto& item : map) {
      const std::string where = Position(file_, item.first.Mark());
      if (!item.first.IsScalar()) throw Error("expected a plain key", where);
      const std::string& key = item.first.Scalar();
      CheckText(key, where);
      if (!seen.insert(key).second) throw Error("the key '" + key + "' stands twice", where);
      Check(item.second, depth + 1);
    }
  }

  std::string file_;
  size_t nodes_ = 0;
};

// A copy without positions: those of a value from the command line are not positions in the file.
YAML::Node WithoutMarks(const YAML::Node& node) {
  if (node.IsScalar()) return YAML::Node(node.Scalar());
  YAML::Node copy(node.Type());
  for (const auto& item : node) {
    if (node.IsMap()) {
      copy[item.first.Scalar()] = WithoutMarks(item.second);
    } else {
      copy.push_back(WithoutMarks(item));
    }
  }
  return copy;
}

// The spelling among `words` of what the text says, or nullptr.
const std::string* FindWord(const std::string& text, const std::vector<std::string>& words) {
  const auto find = [&](std::string_view word) -> const std::string* {
    const auto found = std::find(words.begin(), words.end(), word);
    return found == words.end() ? nullptr : &*found;
  };
  if (const std::string* word = find(text)) return word;
  if (text == "None" || text == "NONE") return find("none");
  const std::optional<bool> flag = ParseFlag(text);
  return flag ? find(*flag ? "true" : "false") : nullptr;
}

// std::errc() where the whole text is a number.
template <typename Number>
std::errc ParseNumber(const std::string& text, Number& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return end == text.data() + text.size() ? error : std::errc::invalid_argument;
}

bool IsCount(const std::string& text, size_t least, size_t most, size_t& value) {
  return ParseNumber(text, value) == std::errc() && value >= least && value <= most;
}

struct IgnoringHandler : YAML::EventHandler {
  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t,
                const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {}
  void OnMapEnd() override {}
};

// Not by YAML::LoadAll: from some texts, like `"",""`, it reads documents without end.
bool HasSecondDocument(const std::string& text) {
  std::istringstream stream(text);
  YAML::Parser parser(stream);
  IgnoringHandler handler;
  return parser.HandleNextDocument(handler) && parser.HandleNextDocument(handler);
}

}  // namespace

std::optional<bool> ParseFlag(const std::string& text) {
  for (const char* word : {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"}) {
    if (text == word) return true;
  }
  for (const char* word : {"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"}) {
    if (text == word) return false;
  }
  return std::nullopt;
}

bool IsOneOf(const std::string& text, const std::vector<std::string>& words) {
  return FindWord(text, words) != nullptr;
}

std::string KeyPosition(const std::string& file, const YAML::Mark& mark, const std::string& key) {
  return mark.is_null() ? "--set " + key : Position(file, mark) + ": " + key;
}

YamlReader::YamlReader(const YAML::Node& node, std::string file, std::string path)
    : node_(node), file_(std::move(file)), path_(std::move(path)) {
  if (!node_.IsNull() && !node_.IsMap()) {
    throw Error(fmt::format("expected a map, found {}", Describe(node_)),
                KeyPosition(file_, node_.Mark(), path_));
  }
}

void YamlReader::RefuseUnknownKeys() const {
  if (!node_.IsMap()) return;
  const std::vector<std::string> valid(asked_.begin(), asked_.end());
  for (const auto& item : node_) {
    const std::string key = item.first.Scalar();
    if (asked_.contains(key)) continue;
    throw Error(fmt::format("unknown key{}", DidYouMean(key, valid)),
                KeyPosition(file_, item.first.Mark(), FullKey(key)));
  }
}

YAML::Node YamlReader::Find(const std::string& key) {
  asked_.insert(key);
  const YAML::Node& node = node_;  // the non-const operator[] would add the key
  return node.IsMap() ? node[key] : YAML::Node(YAML::NodeType::Undefined);
}

YAML::Node YamlReader::List(const std::string& key, const std::string& expected) {
  const YAML::Node value = Find(key);
  if (value.IsSequence()) return value;
  if (value.IsNull()) Fail(key, expected);
  YAML::Node list(YAML::NodeType::Sequence);
  list.push_back(value);
  return list;
}

bool YamlReader::Has(const std::string& key) { return Find(key).IsDefined(); }

bool YamlReader::IsMap(const std::string& key) { return Has(key) && Find(key).IsMap(); }

bool YamlReader::IsScalar(const std::string& key) { return Has(key) && Find(key).IsScalar(); }

std::string YamlReader::Where(const std::string& key) const {
  const YAML::Node& node = node_;
  const YAML::Node value = node.IsMap() ? node[key] : YAML::Node(YAML::NodeType::Undefined);
  return value.IsDefined() ? KeyPosition(file_, value.Mark(), FullKey(key))
                           : file_ + ": " + FullKey(key);
}

std::string YamlReader::Where() const { return KeyPosition(file_, node_.Mark(), path_); }

void YamlReader::Fail(const std::string& key, const std::string& expected,
                      const std::string& hint) {
  throw Error(fmt::format("expected {}, found {}", expected, Describe(Find(key))), Where(key),
              hint);
}

std::string YamlReader::Scalar(const std::string& key, const std::string& expected) {
  const YAML::Node value = Find(key);
  if (!value.IsScalar()) Fail(key, expected);
  return value.Scalar();
}

void YamlReader::Set(const std::string& key, bool& value) {
  if (!Has(key)) return;
  const std::optional<bool> flag = ParseFlag(Scalar(key, "true or false"));
  if (!flag) Fail(key, "true or false");
  value = *flag;
}

void YamlReader::Set(const std::string& key, size_t& value, size_t least, size_t most) {
  if (!Has(key)) return;
  const std::string expected = fmt::format("a whole number from {} to {}", least, most);
  size_t parsed = 0;
  if (!IsCount(Scalar(key, expected), least, most, parsed)) Fail(key, expected);
  value = parsed;
}

void YamlReader::Set(const std::string& key, int& value, int least, int most) {
  size_t parsed = static_cast<size_t>(value);
  Set(key, parsed, static_cast<size_t>(least), static_cast<size_t>(most));
  value = static_cast<int>(parsed);
}

void YamlReader::Set(const std::string& key, double& value) {
  if (!Has(key)) return;
  double parsed = 0;
  const std::errc error = ParseNumber(Scalar(key, "a number"), parsed);
  if (error == std::errc::result_out_of_range) Fail(key, "a number within a double's range");
  if (error != std::errc() || !std::isfinite(parsed)) Fail(key, "a number");
  value = parsed == 0 ? 0 : parsed;  // not -0
}

void YamlReader::Set(const std::string& key, std::string& value) {
  if (!Has(key)) return;
  const std::string text = Scalar(key, "a string");
  if (text.empty()) Fail(key, "a string that is not empty", "without the key the default holds");
  value = text;
}

void YamlReader::Set(const std::string& key, std::vector<std::string>& values) {
  if (!Has(key)) return;
  const YAML::Node list = List(key, "a list, like [a, b]");
  values.clear();
  for (const YAML::Node& item : list) {
    if (!item.IsScalar())
      Fail(key, "a list of strings", fmt::format("one item is {}", Describe(item)));
    if (item.Scalar().empty()) Fail(key, "a list of strings that are not empty");
    values.push_back(item.Scalar());
  }
}

void YamlReader::Set(const std::string& key, std::vector<size_t>& values, size_t least,
                     size_t most) {
  if (!Has(key)) return;
  std::vector<std::string> texts;
  Set(key, texts);
  values.clear();
  for (const std::string& text : texts) {
    size_t parsed = 0;
    if (!IsCount(text, least, most, parsed))
      Fail(key, fmt::format("whole numbers from {} to {}", least, most),
           fmt::format("one item is '{}'", text));
    values.push_back(parsed);
  }
}

std::string YamlReader::Choice(const std::string& key, const std::vector<std::string>& choices,
                               const std::string& otherwise) {
  if (!Has(key)) return otherwise;
  const std::string value = Scalar(key, fmt::format("one of {}", fmt::join(choices, ", ")));
  if (const std::string* word = FindWord(value, choices)) return *word;
  throw Error(fmt::format("unknown value '{}'{}", value, DidYouMean(value, choices)), Where(key));
}

YamlReader YamlReader::Map(const std::string& key) {
  return {Has(key) ? Find(key) : YAML::Node(YAML::NodeType::Map), file_, FullKey(key)};
}

std::vector<YamlReader> YamlReader::Maps(const std::string& key) {
  std::vector<YamlReader> readers;
  if (!Has(key)) return readers;
  const YAML::Node list = List(key, "a list of maps");
  for (size_t i = 0; i < list.size(); ++i)
    readers.emplace_back(list[i], file_, fmt::format("{}[{}]", FullKey(key), i));
  return readers;
}

std::vector<YamlEntry> YamlReader::Entries(const std::string& key) {
  std::vector<YamlEntry> entries;
  if (!Has(key)) return entries;
  const YAML::Node list = List(key, "a list, like [a, b]");
  for (size_t i = 0; i < list.size(); ++i) {
    if (list[i].IsScalar()) {
      entries.push_back({list[i].Scalar(), std::nullopt});
    } else {
      const std::string item = fmt::format("{}[{}]", FullKey(key), i);
      entries.push_back({std::nullopt, YamlReader(list[i], file_, item)});
    }
  }
  return entries;
}

std::string ReadYamlText(const std::string& file) { return ReadFile(file, kMaxConfigBytes); }

YAML::Node ReadYaml(const std::string& file) { return ParseYaml(ReadYamlText(file), file); }

YAML::Node ParseYaml(const std::string& text, const std::string& file) {
  try {
    if (HasSecondDocument(text)) throw Error("expected one document, found more", file);
    YAML::Node root = YAML::Load(text);
    if (!root.IsMap())
      throw Error(fmt::format("expected a map of keys, found {}", Describe(root)), file);
    Validator(file).Check(root);
    return root;
  } catch (const YAML::Exception& error) {
    throw Error(fmt::format("not valid YAML: {} (column {})", error.msg, error.mark.column + 1),
                Position(file, error.mark));
  }
}

void SetYaml(YAML::Node& root, const std::string& assignment) {
  const size_t equals = assignment.find('=');
  if (equals == std::string::npos || equals == 0) {
    throw Error(fmt::format("expected key=value, found '{}'", assignment), "--set",
                "for example --set quantize.weights.bits=3");
  }
  YAML::Node value;
  try {
    value = YAML::Load(assignment.substr(equals + 1));
    Validator("--set " + assignment).Check(value);
  } catch (const YAML::Exception& error) {
    throw Error(fmt::format("the value is not valid YAML: {}", error.msg), "--set " + assignment);
  }
  YAML::Node node = root;
  std::string rest = assignment.substr(0, equals);
  for (size_t dot = rest.find('.'); dot != std::string::npos; dot = rest.find('.')) {
    node.reset(node[rest.substr(0, dot)]);
    rest = rest.substr(dot + 1);
    if (node.IsDefined() && !node.IsNull() && !node.IsMap()) {
      throw Error(fmt::format("'{}' is {} here, which has no keys", assignment.substr(0, equals),
                              Describe(node)),
                  "--set " + assignment);
    }
  }
  node[rest] = WithoutMarks(value);
}

YAML::Node NodeAt(const YAML::Node& root, std::string_view key) {
  if (!root.IsDefined() || !root.IsMap()) return YAML::Node(YAML::NodeType::Undefined);
  const size_t dot = key.find('.');
  const YAML::Node value = root[std::string(key.substr(0, dot))];
  return dot == std::string_view::npos ? value : NodeAt(value, key.substr(dot + 1));
}

}  // namespace quantref
