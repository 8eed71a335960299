#pragma once

#include <cstddef>
#include <functional>
#include <initializer_list>
#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eval/config/config_key.h"

namespace quantref {

class YamlReader;

// What a whole number is where the i-th of its key's words stands in its place: 0 for the first,
// for the others what no number of a config can be.
constexpr size_t CountOfWord(size_t i) {
  return i == 0 ? 0 : std::numeric_limits<size_t>::max() - i;
}

// Goes through the keys of a section, each with the value that it sets: sections.h names every key
// once, and a visitor reads it from YAML, writes it out as JSON, or lists it.
//
// A row's name is that in its map. Its kind follows from the call, its default from the value.
class KeyVisitor {
 public:
  virtual ~KeyVisitor() = default;

  virtual void Text(ConfigKey key, std::string& value) = 0;
  // A text that may be a path; what is written out is its public name (public_name.h).
  virtual void Path(ConfigKey key, std::string& value) { Text(std::move(key), value); }
  virtual void Flag(ConfigKey key, bool& value) = 0;
  // With words, CountOfWord says which of them a value is; of numbers 0 is the only one.
  virtual void Count(ConfigKey key, size_t& value) = 0;
  virtual void Number(ConfigKey key, double& value) = 0;
  // A list of different numbers, at least one; or a number.
  virtual void Counts(ConfigKey key, std::vector<size_t>& values) = 0;
  // One of the key's words.
  virtual void Word(ConfigKey key, std::string& word) = 0;
  template <typename T>
  void Choice(ConfigKey key, T& value,
              std::initializer_list<std::pair<std::string_view, T>> choices);
  // One of these calls, of a value that may be absent: Maybe(&KeyVisitor::Flag, key, value).
  template <typename T>
  void Maybe(void (KeyVisitor::*visit)(ConfigKey key, T& value), ConfigKey key,
             std::optional<T>& value);
  // A map, or the word `none`.
  template <typename T>
  void MapOrNone(ConfigKey key, std::optional<T>& value, void (*visit)(KeyVisitor&, T&));
  // What is read and written in its own way; nothing is written where `write` leaves null.
  virtual void Special(ConfigKey key, const std::function<void(YamlReader&)>& read,
                       const std::function<void(nlohmann::ordered_json&)>& write) = 0;

 protected:
  // Whether to visit a key whose value may be absent.
  virtual bool Goes(const ConfigKey& key, bool present) = 0;
  // Whether there is a map at the key, to which the next calls belong until LeaveMap.
  virtual bool EnterMap(ConfigKey key, bool present) = 0;
  virtual void LeaveMap() = 0;
};

template <typename T>
void KeyVisitor::Choice(ConfigKey key, T& value,
                        std::initializer_list<std::pair<std::string_view, T>> choices) {
  std::string word;
  for (const auto& [name, meant] : choices) {
    key.words.emplace_back(name);
    if (meant == value) word = name;
  }
  Word(std::move(key), word);
  for (const auto& [name, meant] : choices)
    if (name == word) value = meant;
}

template <typename T>
void KeyVisitor::Maybe(void (KeyVisitor::*visit)(ConfigKey key, T& value), ConfigKey key,
                       std::optional<T>& value) {
  if (!Goes(key, value.has_value())) return;
  T inner = value.value_or(T{});
  (this->*visit)(std::move(key), inner);
  value = std::move(inner);
}

template <typename T>
void KeyVisitor::MapOrNone(ConfigKey key, std::optional<T>& value, void (*visit)(KeyVisitor&, T&)) {
  key.words = {"none"};
  T inner = value.value_or(T{});
  const bool entered = EnterMap(std::move(key), value.has_value());
  if (entered) {
    visit(*this, inner);
    LeaveMap();
  }
  value = entered ? std::optional<T>(std::move(inner)) : std::nullopt;
}

}  // namespace quantref
