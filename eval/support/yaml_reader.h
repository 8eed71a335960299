#pragma once

#include <yaml-cpp/yaml.h>

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace quantref {

struct YamlEntry;

// true and false as YAML 1.1 has them: also True, yes, on and their like. Nothing for other text.
std::optional<bool> ParseFlag(const std::string& text);

// Whether the text is one of the words, or spells none, true or false in a way that is not theirs:
// "None", "yes".
bool IsOneOf(const std::string& text, const std::vector<std::string>& words);

// Strict access to a YAML map: every key must be one that the reader asked about, every value of
// the type asked for. Errors name the file, the line, the full key ("quantize.weights.bits"), what
// was expected and what was found. Defaults are the caller's: the setters leave their target alone
// where the key is absent.
class YamlReader {
 public:
  YamlReader(const YAML::Node& node, std::string file, std::string path = {});

  // Throws Error naming the nearest valid key if the map has one that nobody asked about. Call it
  // last.
  void RefuseUnknownKeys() const;

  bool Has(const std::string& key);
  void Set(const std::string& key, bool& value);
  void Set(const std::string& key, size_t& value, size_t least, size_t most);
  void Set(const std::string& key, int& value, int least, int most);
  void Set(const std::string& key, double& value);       // finite, and not -0
  void Set(const std::string& key, std::string& value);  // not empty
  // A list of such strings, or one as a list of one.
  void Set(const std::string& key, std::vector<std::string>& values);
  void Set(const std::string& key, std::vector<size_t>& values, size_t least, size_t most);
  // The text of a scalar that is there; `expected` is for the Error where it is none.
  std::string Scalar(const std::string& key, const std::string& expected);
  // One of the choices; throws Error naming the nearest.
  std::string Choice(const std::string& key, const std::vector<std::string>& choices,
                     const std::string& otherwise);

  YamlReader Map(const std::string& key);  // an empty map where the key is absent
  // Lists of maps, and of strings and maps; one item stands for a list of one.
  std::vector<YamlReader> Maps(const std::string& key);
  std::vector<YamlEntry> Entries(const std::string& key);
  bool IsMap(const std::string& key);
  bool IsScalar(const std::string& key);

  // Throws the error for this key: "expected <expected>, found <value>".
  [[noreturn]] void Fail(const std::string& key, const std::string& expected,
                         const std::string& hint = {});

  // "file:line: full.key", or "--set full.key" for a value from the command line.
  std::string Where(const std::string& key) const;
  std::string Where() const;  // the map itself
  const YAML::Node& node() const { return node_; }

 private:
  YAML::Node Find(const std::string& key);
  YAML::Node List(const std::string& key, const std::string& expected);
  std::string FullKey(const std::string& key) const {
    return path_.empty() ? key : path_ + "." + key;
  }

  YAML::Node node_;
  std::string file_, path_;
  std::set<std::string> asked_;
};

// An item of a list: one of the two.
struct YamlEntry {
  std::optional<std::string> text;
  std::optional<YamlReader> map;
};

// Parses a YAML file. Throws Error with line and column for bad syntax, for what is not one map, a
// key that stands twice in a map, and nesting or aliases without end.
YAML::Node ReadYaml(const std::string& file);
// What it parses, and that of a text that `file` held.
std::string ReadYamlText(const std::string& file);
YAML::Node ParseYaml(const std::string& text, const std::string& file);

// "file:line: full.key" of something at this mark; "--set full.key" where it has none, because it
// came from the command line.
std::string KeyPosition(const std::string& file, const YAML::Mark& mark, const std::string& key);

// Puts `value` (YAML text) at a dotted key, making maps on the way: the command line's --set.
void SetYaml(YAML::Node& root, const std::string& assignment);

// What stands at the dotted key; undefined where nothing does.
YAML::Node NodeAt(const YAML::Node& root, std::string_view key);

}  // namespace quantref
