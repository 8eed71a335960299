#include "harness/io/gguf.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/io/json_file.h"
#include "harness/io/gguf_reader.h"

namespace quantref {
namespace {

// The double nearest to the shortest decimal that names the FP32 number.
double AsWritten(float number) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof(text), number).ptr;
  double written = 0;
  const auto read = std::from_chars(text, end, written);
  return read.ec == std::errc() ? written : static_cast<double>(number);
}

std::string ShownValue(const GgufValue& value) {
  struct Show {
    std::string operator()(uint64_t number) const { return std::to_string(number); }
    std::string operator()(int64_t number) const { return std::to_string(number); }
    std::string operator()(float number) const { return std::to_string(number); }
    std::string operator()(double number) const { return std::to_string(number); }
    std::string operator()(bool flag) const { return flag ? "true" : "false"; }
    std::string operator()(std::string_view text) const { return Quoted(text.substr(0, 60)); }
    std::string operator()(const GgufArray& array) const {
      return "an array of " + std::to_string(array.count);
    }
  };
  return std::visit(Show(), value);
}

// Nothing where the value is no whole number that an int64_t holds.
std::optional<int64_t> Whole(const GgufValue& value) {
  if (const auto* number = std::get_if<int64_t>(&value)) return *number;
  const auto* number = std::get_if<uint64_t>(&value);
  if (number == nullptr || *number > std::numeric_limits<int64_t>::max()) return std::nullopt;
  return static_cast<int64_t>(*number);
}

}  // namespace

GgufFile GgufFile::Open(const std::filesystem::path& path) {
  GgufFile opened{MappedFile(path)};
  GgufContents contents = ReadGguf(opened.file_.bytes(), path.string());
  opened.values_ = std::move(contents.values);
  opened.tensors_ = std::move(contents.tensors);
  opened.header_bytes_ = contents.header_bytes;
  return opened;
}

const Tensor* GgufFile::Find(std::string_view name) const {
  const auto place = std::ranges::lower_bound(tensors_, name, {}, &Tensor::name);
  return place != tensors_.end() && place->name == name ? &*place : nullptr;
}

void GgufFile::FailKey(std::string_view key, const std::string& expected,
                       const GgufValue& found) const {
  throw Error(
      "expected " + expected + " for the key " + Quoted(key) + ", found " + ShownValue(found),
      path().string());
}

std::optional<uint64_t> GgufFile::Count(std::string_view key) const {
  const auto found = values_.find(key);
  if (found == values_.end()) return std::nullopt;
  if (const auto* number = std::get_if<uint64_t>(&found->second)) return *number;
  const auto* number = std::get_if<int64_t>(&found->second);
  if (number != nullptr && *number >= 0) return static_cast<uint64_t>(*number);
  FailKey(key, "a whole number", found->second);
}

std::optional<double> GgufFile::Number(std::string_view key) const {
  const auto found = values_.find(key);
  if (found == values_.end()) return std::nullopt;
  if (const auto* number = std::get_if<float>(&found->second)) return AsWritten(*number);
  if (const auto* number = std::get_if<double>(&found->second)) return *number;
  if (const auto whole = Whole(found->second)) return static_cast<double>(*whole);
  FailKey(key, "a number", found->second);
}

std::optional<bool> GgufFile::Bool(std::string_view key) const {
  const auto found = values_.find(key);
  if (found == values_.end()) return std::nullopt;
  if (const auto* flag = std::get_if<bool>(&found->second)) return *flag;
  FailKey(key, "true or false", found->second);
}

std::optional<std::string_view> GgufFile::Text(std::string_view key) const {
  const auto found = values_.find(key);
  if (found == values_.end()) return std::nullopt;
  if (const auto* text = std::get_if<std::string_view>(&found->second)) return *text;
  FailKey(key, "a string", found->second);
}

const GgufArray* GgufFile::Array(std::string_view key, const std::string& expected) const {
  const auto found = values_.find(key);
  if (found == values_.end()) return nullptr;
  const auto* array = std::get_if<GgufArray>(&found->second);
  if (array == nullptr) FailKey(key, expected, found->second);
  return array;
}

std::optional<std::vector<std::string_view>> GgufFile::Texts(std::string_view key) const {
  const std::string expected = "an array of strings";
  const GgufArray* const array = Array(key, expected);
  if (array == nullptr) return std::nullopt;
  if (array->elements != GgufType::kString) FailKey(key, expected, *array);
  return StringsOf(*array);
}

std::optional<std::vector<float>> GgufFile::Floats(std::string_view key) const {
  const std::string expected = "an array of FP32 numbers";
  const GgufArray* const array = Array(key, expected);
  if (array == nullptr) return std::nullopt;
  if (array->elements != GgufType::kF32) FailKey(key, expected, *array);
  std::vector<float> numbers(array->count);
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = std::get<float>(NumberAt(*array, i));
  return numbers;
}

std::optional<std::vector<int64_t>> GgufFile::Integers(std::string_view key) const {
  const std::string expected = "an array of whole numbers";
  const GgufArray* const array = Array(key, expected);
  if (array == nullptr) return std::nullopt;
  if (array->elements == GgufType::kString) FailKey(key, expected, *array);
  std::vector<int64_t> numbers(array->count);
  for (size_t i = 0; i < numbers.size(); ++i) {
    const std::optional<int64_t> number = Whole(NumberAt(*array, i));
    if (!number) FailKey(key, expected, *array);
    numbers[i] = *number;
  }
  return numbers;
}

}  // namespace quantref
