#include "eval/record/reader_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "harness/base/error.h"
#include "harness/io/json_file.h"

namespace quantref {
namespace {

using Json = nlohmann::json;

constexpr const char* kHint = "results/README.md describes records";

// Sums beyond this are no NLLs; their squares would overflow in the statistics.
constexpr double kLargestSum = 1e12;
// Nor are these times or rates. Ratios of what lies between stay far from the ends of double.
constexpr double kSmallest = 1e-15, kLargest = 1e15;

}  // namespace

std::string DescribeJson(const Json* value) {
  if (value == nullptr) return "nothing";
  if (value->is_null()) return "null";
  if (value->is_object()) return "a map";
  if (value->is_array()) return fmt::format("a list of {}", value->size());
  return value->is_string() ? Quoted(value->get_ref<const std::string&>()) : value->dump();
}

RecordFields::RecordFields(const Json& json, std::string where, std::string path)
    : json_(json), where_(std::move(where)), path_(std::move(path)) {
  if (!json.is_object())
    throw Error(fmt::format("expected {}, found {}", path_.empty() ? "a record" : "a map",
                            DescribeJson(&json)),
                path_.empty() ? where_ : where_ + ": " + path_, kHint);
}

const Json* RecordFields::Find(std::string_view path) const {
  const Json* value = &json_;
  while (value != nullptr && !path.empty()) {
    const size_t end = std::min(path.find('.'), path.size());
    if (!value->is_object()) return nullptr;
    const auto item = value->find(path.substr(0, end));
    value = item == value->end() ? nullptr : &*item;
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return value;
}

void RecordFields::Fail(const std::string& path, const std::string& expected,
                        const std::string& found) const {
  throw Error(fmt::format("expected {}, found {}", expected, found), where_ + ": " + FullPath(path),
              kHint);
}

std::string RecordFields::Text(const std::string& path) const {
  const Json* value = Find(path);
  if (value == nullptr || !value->is_string()) Fail(path, "text", DescribeJson(value));
  const std::string& text = value->get_ref<const std::string&>();
  const bool printable = std::none_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) < ' ' || c == '\x7f';
  });
  if (!printable) Fail(path, "text without control characters", Quoted(text));
  return text;
}

std::string RecordFields::TextOr(const std::string& path, const std::string& otherwise) const {
  return Find(path) == nullptr ? otherwise : Text(path);
}

double RecordFields::Number(const std::string& path) const {
  const Json* value = Find(path);
  if (value == nullptr || !value->is_number() || !std::isfinite(value->get<double>()))
    Fail(path, "a number", DescribeJson(value));
  return value->get<double>();
}

double RecordFields::NumberOr(const std::string& path, double otherwise) const {
  return Find(path) == nullptr ? otherwise : Number(path);
}

size_t RecordFields::Count(const std::string& path) const { return Count(path, Find(path)); }

size_t RecordFields::CountFromOne(const std::string& path) const {
  const size_t count = Count(path);
  if (count == 0) Fail(path, "at least 1", "0");
  return count;
}

double RecordFields::Positive(const std::string& path) const {
  return Number(path, Find(path), kSmallest, "a number above 0");
}

double RecordFields::NotNegative(const std::string& path) const {
  return Number(path, Find(path), 0, "a number, 0 or more");
}

bool RecordFields::Flag(const std::string& path) const {
  const Json* value = Find(path);
  if (value != nullptr && !value->is_boolean()) Fail(path, "true or false", DescribeJson(value));
  return value != nullptr && value->get<bool>();
}

std::vector<double> RecordFields::Sums(const std::string& path, size_t count) const {
  const Json& list = List(path, count);
  std::vector<double> sums;
  sums.reserve(count);
  for (const Json& item : list) {
    const double sum = item.is_number() ? item.get<double>() : HUGE_VAL;
    if (std::abs(sum) > kLargestSum)
      Fail(Item(path, sums.size()), "an NLL in nats", DescribeJson(&item));
    sums.push_back(sum);
  }
  return sums;
}

std::vector<size_t> RecordFields::Counts(const std::string& path, size_t count) const {
  const Json& list = List(path, count);
  std::vector<size_t> counts;
  counts.reserve(count);
  for (const Json& item : list) counts.push_back(Count(Item(path, counts.size()), &item));
  return counts;
}

std::vector<double> RecordFields::Positives(const std::string& path, size_t least,
                                            size_t most) const {
  const Json* list = Find(path);
  if (list == nullptr || !list->is_array() || list->size() < least || list->size() > most)
    Fail(path, fmt::format("a list of {} to {} numbers", least, most), DescribeJson(list));
  std::vector<double> numbers;
  numbers.reserve(list->size());
  for (const Json& item : *list)
    numbers.push_back(Number(Item(path, numbers.size()), &item, kSmallest, "a number above 0"));
  return numbers;
}

std::vector<RecordFields> RecordFields::Maps(const std::string& path) const {
  const Json* list = Find(path);
  std::vector<RecordFields> maps;
  if (list == nullptr) return maps;
  if (!list->is_array()) Fail(path, "a list of maps", DescribeJson(list));
  maps.reserve(list->size());
  for (const Json& item : *list) maps.emplace_back(item, where_, Item(FullPath(path), maps.size()));
  return maps;
}

std::string RecordFields::Item(const std::string& path, size_t index) {
  return fmt::format("{}[{}]", path, index);
}

std::string RecordFields::FullPath(const std::string& path) const {
  return path_.empty() ? path : path_ + "." + path;
}

const Json& RecordFields::List(const std::string& path, size_t count) const {
  const Json* value = Find(path);
  if (value == nullptr || !value->is_array() || value->size() != count)
    Fail(path, fmt::format("a list of {}, one a window", count), DescribeJson(value));
  return *value;
}

size_t RecordFields::Count(const std::string& path, const Json* value) const {
  if (value == nullptr || !value->is_number_unsigned() ||
      value->get<uint64_t>() > std::numeric_limits<uint32_t>::max()) {
    Fail(path, "a whole number below 2^32", DescribeJson(value));
  }
  return value->get<size_t>();
}

double RecordFields::Number(const std::string& path, const Json* value, double least,
                            const char* expected) const {
  const double number = value != nullptr && value->is_number() ? value->get<double>() : -HUGE_VAL;
  if (!(number >= least && number <= kLargest)) Fail(path, expected, DescribeJson(value));
  return number;
}

}  // namespace quantref
