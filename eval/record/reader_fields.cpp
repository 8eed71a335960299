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

constexpr const char* kHint = "results/README.md describes records";

// Sums beyond this are no NLLs; their squares would overflow in the statistics.
constexpr double kLargestSum = 1e12;
// Nor are these times or rates. Ratios of what lies between stay far from the ends of double.
constexpr double kSmallest = 1e-15, kLargest = 1e15;

}  // namespace

std::string DescribeJson(const std::optional<JsonValue>& value) {
  if (!value) return "nothing";
  if (value->IsNull()) return "null";
  if (value->IsMap()) return "a map";
  if (value->IsList()) return fmt::format("a list of {}", value->size());
  return value->IsText() ? Quoted(value->Text()) : value->Dump();
}

RecordFields::RecordFields(JsonValue json, std::string where, std::string path)
    : json_(json), where_(std::move(where)), path_(std::move(path)) {
  if (!json.IsMap())
    throw Error(fmt::format("expected {}, found {}", path_.empty() ? "a record" : "a map",
                            DescribeJson(json)),
                path_.empty() ? where_ : where_ + ": " + path_, kHint);
}

std::optional<JsonValue> RecordFields::Find(std::string_view path) const {
  std::optional<JsonValue> value = json_;
  while (value && !path.empty()) {
    const size_t end = std::min(path.find('.'), path.size());
    value = value->Find(path.substr(0, end));
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
  const std::optional<JsonValue> value = Find(path);
  if (!value || !value->IsText()) Fail(path, "text", DescribeJson(value));
  const std::string text(value->Text());
  const bool printable = std::none_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) < ' ' || c == '\x7f';
  });
  if (!printable) Fail(path, "text without control characters", Quoted(text));
  return text;
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
  const std::optional<JsonValue> value = Find(path);
  if (value && !value->IsFlag()) Fail(path, "true or false", DescribeJson(value));
  return value && value->Flag();
}

double RecordFields::Number(const std::string& path) const {
  const std::optional<JsonValue> value = Find(path);
  if (!value || !value->IsNumber() || !std::isfinite(value->Number()))
    Fail(path, "a number", DescribeJson(value));
  return value->Number();
}

std::pair<double, double> RecordFields::Interval(const std::string& path) const {
  const std::optional<JsonValue> value = Find(path);
  const std::vector<JsonValue> ends =
      value && value->IsList() ? value->Items() : std::vector<JsonValue>{};
  const bool two = ends.size() == 2 && ends[0].IsNumber() && ends[1].IsNumber() &&
                   ends[0].Number() <= ends[1].Number();
  if (!two) Fail(path, "the two ends of an interval", value ? value->Dump() : "nothing");
  return {ends[0].Number(), ends[1].Number()};
}

std::string RecordFields::TextOr(const std::string& path, const std::string& otherwise) const {
  return Has(path) ? Text(path) : otherwise;
}

double RecordFields::NumberOr(const std::string& path, double otherwise) const {
  return Has(path) ? Number(path) : otherwise;
}

std::vector<double> RecordFields::Sums(const std::string& path, size_t count) const {
  std::vector<double> sums;
  sums.reserve(count);
  for (const JsonValue item : List(path, count)) {
    const double sum = item.IsNumber() ? item.Number() : HUGE_VAL;
    if (std::abs(sum) > kLargestSum)
      Fail(Item(path, sums.size()), "an NLL in nats", DescribeJson(item));
    sums.push_back(sum);
  }
  return sums;
}

std::vector<size_t> RecordFields::Counts(const std::string& path, size_t count) const {
  std::vector<size_t> counts;
  counts.reserve(count);
  for (const JsonValue item : List(path, count))
    counts.push_back(Count(Item(path, counts.size()), item));
  return counts;
}

std::vector<double> RecordFields::Positives(const std::string& path, size_t least,
                                            size_t most) const {
  const std::optional<JsonValue> list = Find(path);
  if (!list || !list->IsList() || list->size() < least || list->size() > most)
    Fail(path, fmt::format("a list of {} to {} numbers", least, most), DescribeJson(list));
  std::vector<double> numbers;
  numbers.reserve(list->size());
  for (const JsonValue item : list->Items())
    numbers.push_back(Number(Item(path, numbers.size()), item, kSmallest, "a number above 0"));
  return numbers;
}

RecordFields RecordFields::Map(const std::string& path) const {
  const std::optional<JsonValue> map = Find(path);
  if (!map || !map->IsMap()) Fail(path, "a map", DescribeJson(map));
  return {*map, where_, FullPath(path)};
}

std::vector<RecordFields> RecordFields::Maps(const std::string& path) const {
  const std::optional<JsonValue> list = Find(path);
  std::vector<RecordFields> maps;
  if (!list) return maps;
  if (!list->IsList()) Fail(path, "a list of maps", DescribeJson(list));
  maps.reserve(list->size());
  for (const JsonValue item : list->Items())
    maps.emplace_back(item, where_, Item(FullPath(path), maps.size()));
  return maps;
}

std::string RecordFields::Item(const std::string& path, size_t index) {
  return fmt::format("{}[{}]", path, index);
}

std::string RecordFields::FullPath(const std::string& path) const {
  return path_.empty() ? path : path_ + "." + path;
}

std::vector<JsonValue> RecordFields::List(const std::string& path, size_t count) const {
  const std::optional<JsonValue> value = Find(path);
  if (!value || !value->IsList() || value->size() != count)
    Fail(path, fmt::format("a list of {}, one a window", count), DescribeJson(value));
  return value->Items();
}

size_t RecordFields::Count(const std::string& path, const std::optional<JsonValue>& value) const {
  const std::optional<uint64_t> count = value ? value->Natural() : std::nullopt;
  if (!count || *count > std::numeric_limits<uint32_t>::max())
    Fail(path, "a whole number below 2^32", DescribeJson(value));
  return *count;
}

double RecordFields::Number(const std::string& path, const std::optional<JsonValue>& value,
                            double least, const char* expected) const {
  const double number = value && value->IsNumber() ? value->Number() : -HUGE_VAL;
  if (!(number >= least && number <= kLargest)) Fail(path, expected, DescribeJson(value));
  return number;
}

}  // namespace quantref
