#pragma once

#include <deque>
#include <optional>

#include "eval/config/key_visitor.h"
#include "eval/support/yaml_reader.h"

namespace quantref {

// Reads the keys of a map; what is absent stays as it is. Throws Error for what a row does not
// allow.
class KeyReader : public KeyVisitor {
 public:
  explicit KeyReader(YamlReader& yaml) : yaml_(&yaml) {}

  void Text(ConfigKey key, std::string& value) override;
  void Flag(ConfigKey key, bool& value) override;
  void Count(ConfigKey key, size_t& value) override;
  void Number(ConfigKey key, double& value) override;
  void Counts(ConfigKey key, std::vector<size_t>& values) override;
  void Word(ConfigKey key, std::string& word) override;
  void Special(ConfigKey key, const std::function<void(YamlReader&)>& read,
               const std::function<void(nlohmann::ordered_json&)>& write) override;

 protected:
  bool Goes(const ConfigKey& key, bool) override { return yaml().Has(key.name); }
  bool EnterMap(ConfigKey key, bool present) override;
  void LeaveMap() override;

 private:
  // Which of the key's words stands in the place of a number, if one does.
  std::optional<size_t> WordAt(const ConfigKey& key, const std::string& expected);
  YamlReader& yaml() { return maps_.empty() ? *yaml_ : maps_.back(); }

  YamlReader* yaml_;
  std::deque<YamlReader> maps_;  // those entered, the innermost last
};

}  // namespace quantref
