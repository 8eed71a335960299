#pragma once

#include <fmt/format.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "harness/base/error.h"
#include "harness/model/config.h"

// What the files that read config.json share; nobody else includes this.

namespace quantref {

inline constexpr size_t kMostContext = 1 << 24;

// Typed access to one JSON object, with errors that name the file and the key.
class ConfigReader {
 public:
  ConfigReader(const nlohmann::json& object, std::string where)
      : object_(object), where_(std::move(where)) {}

  bool Has(const char* key) const { return object_.contains(key) && !object_[key].is_null(); }

  size_t Count(const char* key, size_t largest) const {
    const nlohmann::json& value = Required(key, "a whole number");
    if (!value.is_number_unsigned() || value.get<uint64_t>() == 0 ||
        value.get<uint64_t>() > largest) {
      Fail(key, fmt::format("a whole number from 1 to {}", largest), value);
    }
    return value.get<size_t>();
  }
  double PositiveOr(const char* key, double otherwise) const {
    return Has(key) ? Positive(key) : otherwise;
  }
  double Positive(const char* key) const {
    const nlohmann::json& value = Required(key, "a positive number");
    if (!value.is_number() || !(value.get<double>() > 0) || !std::isfinite(value.get<double>())) {
      Fail(key, "a positive number", value);
    }
    return value.get<double>();
  }
  bool Bool(const char* key, bool otherwise) const {
    if (!Has(key)) return otherwise;
    if (!object_[key].is_boolean()) Fail(key, "true or false", object_[key]);
    return object_[key].get<bool>();
  }
  std::string String(const char* key) const {
    const nlohmann::json& value = Required(key, "a string");
    if (!value.is_string()) Fail(key, "a string", value);
    return value.get<std::string>();
  }
  std::vector<double> PositiveNumbers(const char* key, size_t count) const {
    const nlohmann::json& value = Required(key, "a list of positive numbers");
    std::vector<double> numbers;
    bool ok = value.is_array() && value.size() == count;
    for (size_t i = 0; ok && i < count; ++i) {
      ok = value[i].is_number() && value[i].get<double>() > 0 &&
           std::isfinite(value[i].get<double>());
      if (ok) numbers.push_back(value[i].get<double>());
    }
    if (!ok) Fail(key, fmt::format("a list of {} positive numbers", count), value);
    return numbers;
  }
  ConfigReader Object(const char* key) const {
    const nlohmann::json& value = Required(key, "an object");
    if (!value.is_object()) Fail(key, "an object", value);
    return {value, fmt::format("{}, {}", where_, key)};
  }
  const nlohmann::json& operator[](const char* key) const { return object_[key]; }

  [[noreturn]] void Fail(const char* key, const std::string& expected,
                         const nlohmann::json& found) const {
    throw Error(
        fmt::format("expected {} for \"{}\", found {}", expected, key, found.dump().substr(0, 80)),
        where_);
  }
  [[noreturn]] void Unsupported(
      const std::string& feature,
      const char* hint =
          "README.md of harness/model lists the families and what each may ask for") const {
    throw Error(fmt::format("{} is not supported", feature), where_, hint);
  }

 private:
  const nlohmann::json& Required(const char* key, const char* expected) const {
    if (!Has(key))
      throw Error(fmt::format("expected {} for \"{}\", found nothing", expected, key), where_);
    return object_[key];
  }

  const nlohmann::json& object_;
  std::string where_;
};

// Rotary embeddings: rope_theta, rope_scaling or rope_parameters, and how much of a head is
// rotated. The config's context and heads are there; longrope may be called by the names that phi3
// has for it where `phi` is set, and a part of a head may stay as it is.
void ReadRope(const ConfigReader& json, bool phi, ModelConfig& config);

// The context that dynamic and yarn scaling make of the original one.
size_t StretchedContext(const ModelConfig& config);

}  // namespace quantref
