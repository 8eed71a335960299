#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace quantref {

// The value as JSON text, cut to a line, for messages.
std::string ShownJson(const nlohmann::json& value);

// Typed access to the fields of one JSON object of a file that came from elsewhere. What is asked
// for and is not there, or is something else, is an Error that names the place, the key, what was
// expected and what was found. A field that is null is none. The object must outlive this.
class JsonFields {
 public:
  // `where`: the file and the place in it. Throws Error unless the value is an object.
  JsonFields(const nlohmann::json& object, std::string where);

  bool Has(const char* key) const;
  uint64_t Count(const char* key, uint64_t least, uint64_t most) const;
  double Positive(const char* key) const;  // finite
  double PositiveOr(const char* key, double otherwise) const;
  std::vector<double> Positives(const char* key, size_t count) const;  // so many, finite
  bool Flag(const char* key) const;
  bool FlagOr(const char* key, bool otherwise) const;
  std::string Text(const char* key) const;
  std::vector<uint64_t> Counts(const char* key) const;  // whole numbers, of any size
  JsonFields Object(const char* key) const;             // whose place is `where`, key

  const nlohmann::json& operator[](const char* key) const { return object_[key]; }
  const std::string& where() const { return where_; }

  // "expected <expected> for "key", found <value>".
  [[noreturn]] void Fail(const char* key, const std::string& expected) const;

 private:
  const nlohmann::json& Required(const char* key, const std::string& expected) const;

  const nlohmann::json& object_;
  std::string where_;
};

}  // namespace quantref
