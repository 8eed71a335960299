#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace quantref {

// For messages: text as a JSON literal, lists by their length, "nothing" for nullptr.
std::string DescribeJson(const nlohmann::json* value);

// Strict access to a record by dotted paths. Errors name the file, the path, what was expected and
// what was found.
class RecordFields {
 public:
  // `where` names the record in messages; `path` the place of `json` in it, "" for a whole record.
  RecordFields(const nlohmann::json& json, std::string where, std::string path = {});

  const nlohmann::json* Find(std::string_view path) const;
  bool Has(std::string_view path) const { return Find(path) != nullptr; }
  [[noreturn]] void Fail(const std::string& path, const std::string& expected,
                         const std::string& found) const;

  std::string Text(const std::string& path) const;  // one line: it will be printed
  // The same, where the record has the field.
  std::string TextOr(const std::string& path, const std::string& otherwise) const;
  double Number(const std::string& path) const;  // any number
  double NumberOr(const std::string& path, double otherwise) const;
  size_t Count(const std::string& path) const;  // a whole number below 2^32
  size_t CountFromOne(const std::string& path) const;
  double Positive(const std::string& path) const;     // up to 1e15
  double NotNegative(const std::string& path) const;  // up to 1e15
  bool Flag(const std::string& path) const;           // false where there is none
  std::vector<double> Sums(const std::string& path, size_t count) const;    // over windows, of NLLs
  std::vector<size_t> Counts(const std::string& path, size_t count) const;  // one a window
  // Of a list that holds `least` to `most` of them.
  std::vector<double> Positives(const std::string& path, size_t least, size_t most) const;
  // The items of a list of maps; none where the record has no such list.
  std::vector<RecordFields> Maps(const std::string& path) const;

  static std::string Item(const std::string& path, size_t index);

 private:
  std::string FullPath(const std::string& path) const;
  const nlohmann::json& List(const std::string& path, size_t count) const;
  size_t Count(const std::string& path, const nlohmann::json* value) const;
  double Number(const std::string& path, const nlohmann::json* value, double least,
                const char* expected) const;

  const nlohmann::json& json_;
  std::string where_, path_;
};

}  // namespace quantref
