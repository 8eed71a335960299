#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "harness/io/json_reader.h"

namespace quantref {

// For messages: text as a JSON literal, lists by their length, "nothing" where there is none.
std::string DescribeJson(const std::optional<JsonValue>& value);

// Strict access to a record by dotted paths. Errors name the file, the path, what was expected and
// what was found.
class RecordFields {
 public:
  // `where` names the record in messages; `path` the place of `json` in it, "" for a whole record.
  RecordFields(JsonValue json, std::string where, std::string path = {});

  std::optional<JsonValue> Find(std::string_view path) const;
  bool Has(std::string_view path) const { return Find(path).has_value(); }
  JsonValue json() const { return json_; }
  [[noreturn]] void Fail(const std::string& path, const std::string& expected,
                         const std::string& found) const;

  std::string Text(const std::string& path) const;  // one line: it will be printed
  size_t Count(const std::string& path) const;      // a whole number below 2^32
  size_t CountFromOne(const std::string& path) const;
  double Positive(const std::string& path) const;                     // up to 1e15
  double NotNegative(const std::string& path) const;                  // up to 1e15
  double Number(const std::string& path) const;                       // finite
  std::pair<double, double> Interval(const std::string& path) const;  // its two ends
  bool Flag(const std::string& path) const;                           // false where there is none
  // `otherwise` where there is none.
  std::string TextOr(const std::string& path, const std::string& otherwise) const;
  double NumberOr(const std::string& path, double otherwise) const;
  std::vector<double> Sums(const std::string& path, size_t count) const;    // over windows, of NLLs
  std::vector<size_t> Counts(const std::string& path, size_t count) const;  // one a window
  // Of a list that holds `least` to `most` of them.
  std::vector<double> Positives(const std::string& path, size_t least, size_t most) const;
  RecordFields Map(const std::string& path) const;
  // The items of a list of maps; none where the record has no such list.
  std::vector<RecordFields> Maps(const std::string& path) const;

  static std::string Item(const std::string& path, size_t index);

 private:
  std::string FullPath(const std::string& path) const;
  std::vector<JsonValue> List(const std::string& path, size_t count) const;
  size_t Count(const std::string& path, const std::optional<JsonValue>& value) const;
  double Number(const std::string& path, const std::optional<JsonValue>& value, double least,
                const char* expected) const;

  JsonValue json_;
  std::string where_, path_;
};

}  // namespace quantref
