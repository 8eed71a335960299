#include "harness/io/json_fields.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "harness/base/error.h"
#include "harness/io/json_file.h"

namespace quantref {

using Json = nlohmann::json;

namespace {

bool IsPositive(const Json& value) {
  return value.is_number() && value.get<double>() > 0 && std::isfinite(value.get<double>());
}

}  // namespace

std::string ShownJson(const Json& value) {
  constexpr size_t kLongest = 100;
  std::string text = value.dump(-1, ' ', true);  // ASCII only, so that it can be cut anywhere
  if (text.size() > kLongest) text.replace(kLongest, std::string::npos, "...");
  return text;
}

JsonFields::JsonFields(const Json& object, std::string where)
    : object_(object), where_(std::move(where)) {
  if (!object_.is_object()) throw Error("expected an object, found " + ShownJson(object_), where_);
}

bool JsonFields::Has(const char* key) const {
  const auto found = object_.find(key);
  return found != object_.end() && !found->is_null();
}

uint64_t JsonFields::Count(const char* key, uint64_t least, uint64_t most) const {
  const std::string expected =
      "a whole number from " + std::to_string(least) + " to " + std::to_string(most);
  const Json& value = Required(key, expected);
  // The parser gives this type exactly to the whole numbers in [0, 2^64).
  if (!value.is_number_unsigned() || value.get<uint64_t>() < least || value.get<uint64_t>() > most)
    Fail(key, expected);
  return value.get<uint64_t>();
}

double JsonFields::Positive(const char* key) const {
  constexpr char kExpected[] = "a positive number";
  const Json& value = Required(key, kExpected);
  if (!IsPositive(value)) Fail(key, kExpected);
  return value.get<double>();
}

double JsonFields::PositiveOr(const char* key, double otherwise) const {
  return Has(key) ? Positive(key) : otherwise;
}

std::vector<double> JsonFields::Positives(const char* key, size_t count) const {
  const std::string expected = "a list of " + std::to_string(count) + " positive numbers";
  const Json& list = Required(key, expected);
  if (!list.is_array() || list.size() != count ||
      !std::all_of(list.begin(), list.end(), IsPositive))
    Fail(key, expected);
  return list.get<std::vector<double>>();
}

bool JsonFields::Flag(const char* key) const {
  constexpr char kExpected[] = "true or false";
  const Json& value = Required(key, kExpected);
  if (!value.is_boolean()) Fail(key, kExpected);
  return value.get<bool>();
}

bool JsonFields::FlagOr(const char* key, bool otherwise) const {
  return Has(key) ? Flag(key) : otherwise;
}

std::string JsonFields::Text(const char* key) const {
  constexpr char kExpected[] = "a string";
  const Json& value = Required(key, kExpected);
  if (!value.is_string()) Fail(key, kExpected);
  return value.get<std::string>();
}

std::vector<uint64_t> JsonFields::Counts(const char* key) const {
  const Json& list = Required(key, "a list of whole numbers");
  if (!list.is_array()) Fail(key, "a list of whole numbers");
  std::vector<uint64_t> counts;
  for (const Json& item : list) {
    if (!item.is_number_unsigned()) {
      throw Error("expected whole numbers from 0 to 2^64-1 in " + Quoted(key) + ", found " +
                      ShownJson(item),
                  where_);
    }
    counts.push_back(item.get<uint64_t>());
  }
  return counts;
}

JsonFields JsonFields::Object(const char* key) const {
  const Json& value = Required(key, "an object");
  if (!value.is_object()) Fail(key, "an object");
  return {value, where_ + ", " + key};
}

void JsonFields::Fail(const char* key, const std::string& expected) const {
  const std::string found = Has(key) ? ShownJson(object_[key]) : "nothing";
  throw Error("expected " + expected + " for " + Quoted(key) + ", found " + found, where_);
}

const Json& JsonFields::Required(const char* key, const std::string& expected) const {
  if (!Has(key)) Fail(key, expected);
  return object_[key];
}

}  // namespace quantref
