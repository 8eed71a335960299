#include "eval/config/key_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>

namespace quantref {
namespace {

size_t Least(const ConfigKey& key) { return CountLimit(key.least); }
size_t Most(const ConfigKey& key) { return CountLimit(key.most); }

std::string UnitOf(const ConfigKey& key) { return key.unit.empty() ? "" : " of " + key.unit; }

std::string ExpectedNumber(const ConfigKey& key) {
  const std::string unit = UnitOf(key);
  const bool bounded = key.most < std::numeric_limits<double>::infinity();
  if (key.above_least && key.least == 0 && !bounded) return "a positive number" + unit;
  const std::string most = bounded ? fmt::format(", at most {}", key.most) : "";
  if (key.above_least) return fmt::format("a number{} above {}{}", unit, key.least, most);
  return fmt::format("a number{} from {} to {}", unit, key.least, key.most);
}

std::string OrWord(const ConfigKey& key, const std::string& number) {
  return key.words.empty() ? number
                           : fmt::format("'{}' or {}", fmt::join(key.words, "', '"), number);
}

}  // namespace

void KeyReader::Text(ConfigKey key, std::string& value) { yaml().Set(key.name, value); }

void KeyReader::Flag(ConfigKey key, bool& value) { yaml().Set(key.name, value); }

std::optional<size_t> KeyReader::WordAt(const ConfigKey& key, const std::string& expected) {
  if (key.words.empty() || !yaml().Has(key.name)) return std::nullopt;
  const std::string text = yaml().Scalar(key.name, expected);
  const auto word = std::find(key.words.begin(), key.words.end(), text);
  if (word != key.words.end()) return static_cast<size_t>(word - key.words.begin());
  double number = 0;
  const char* const end = text.data() + text.size();
  const bool whole = std::from_chars(text.data(), end, number).ptr == end;
  if (!whole || number < std::min(0.0, key.least)) yaml().Fail(key.name, expected);
  return std::nullopt;
}

void KeyReader::Count(ConfigKey key, size_t& value) {
  if (const auto word = WordAt(key, OrWord(key, "a number" + UnitOf(key)))) {
    value = CountOfWord(*word);
  } else {
    yaml().Set(key.name, value, Least(key), Most(key));
  }
}

void KeyReader::Number(ConfigKey key, double& value) {
  const std::string expected = OrWord(key, ExpectedNumber(key));
  if (WordAt(key, expected)) {
    value = 0;
    return;
  }
  yaml().Set(key.name, value);
  const bool fits = (key.above_least ? value > key.least : value >= key.least) && value <= key.most;
  if (!fits) yaml().Fail(key.name, expected, key.about);
}

void KeyReader::Counts(ConfigKey key, std::vector<size_t>& values) {
  yaml().Set(key.name, values, Least(key), Most(key));
  if (values.empty()) yaml().Fail(key.name, "a list of at least one number");
  for (const size_t value : values) {
    if (std::count(values.begin(), values.end(), value) > 1)
      yaml().Fail(key.name, "a list of different numbers");
  }
}

void KeyReader::Word(ConfigKey key, std::string& word) {
  word = yaml().Choice(key.name, key.words, word);
}

void KeyReader::Special(ConfigKey, const std::function<void(YamlReader&)>& read,
                        const std::function<void(nlohmann::ordered_json&)>&) {
  read(yaml());
}

bool KeyReader::EnterMap(ConfigKey key, bool) {
  if (yaml().IsMap(key.name)) {
    maps_.push_back(yaml().Map(key.name));
    return true;
  }
  yaml().Choice(key.name, key.words, key.words[0]);
  return false;
}

void KeyReader::LeaveMap() {
  maps_.back().RefuseUnknownKeys();
  maps_.pop_back();
}

}  // namespace quantref
