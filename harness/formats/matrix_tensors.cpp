#include "harness/formats/matrix_tensors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/base/half.h"
#include "harness/io/json_file.h"
#include "harness/quant/float8.h"

namespace quantref {
namespace {

std::string ShapeText(const std::vector<size_t>& shape) {
  return fmt::format("({})", fmt::join(shape, ", "));
}

std::string TypesText(std::initializer_list<DType> types) {
  std::vector<std::string_view> names;
  for (const DType type : types) names.push_back(DTypeName(type));
  return fmt::format("{}", fmt::join(names, " or "));
}

bool HasOneElement(const Tensor& tensor) {
  return std::ranges::all_of(tensor.shape, [](size_t size) { return size == 1; });
}

}  // namespace

bool MatrixTensors::IsPlain() const {
  const Tensor* const weight = Find("weight");
  return weight != nullptr && std::ranges::find(kFloatTypes, weight->dtype) != kFloatTypes.end();
}

void MatrixTensors::RequireUnlisted(std::initializer_list<const char*> keys) const {
  const JsonFields json = folder_.fields();
  for (const char* key : keys) {
    if (!json.Has(key)) continue;
    for (const nlohmann::json& item : json[key]) {
      const std::string module = item.is_string() ? item.get<std::string>() : "";
      if (module.empty() || !("." + name_).ends_with("." + module)) continue;
      Fail("weight", fmt::format("plain numbers, as {} has {}", key, Quoted(module)), "codes");
    }
  }
}

void MatrixTensors::Fail(std::string_view part, const std::string& expected,
                         const std::string& found) const {
  throw Error(fmt::format("tensor {}: expected {}, found {}", NameOf(part), expected, found),
              folder_.where,
              "the folder is damaged, or its quantization_config belongs to other weights");
}

const Tensor& MatrixTensors::Taken(std::string_view part, std::initializer_list<DType> types) {
  const Tensor* const tensor = Find(part);
  if (tensor == nullptr) {
    const bool others = std::ranges::any_of(
        folder_.names, [&](const std::string& name) { return name.starts_with(NameOf("")); });
    if (others) Fail(part, "it beside the others of its matrix", "none");
    Fail(part, "it, or " + NameOf("weight"), "none of its tensors");
  }
  if (std::ranges::find(types, tensor->dtype) == types.end())
    Fail(part, TypesText(types), std::string(tensor->type_name()));
  names_.push_back(tensor->name);
  stored_.emplace_back(tensor->data, tensor->bytes);
  return *tensor;
}

const Tensor& MatrixTensors::Take(std::string_view part, std::initializer_list<DType> types,
                                  const std::vector<size_t>& shape) {
  return TakeAny(part, types, {shape});
}

const Tensor& MatrixTensors::TakeAny(std::string_view part, std::initializer_list<DType> types,
                                     std::initializer_list<std::vector<size_t>> shapes) {
  const Tensor& tensor = Taken(part, types);
  if (std::ranges::find(shapes, tensor.shape) != shapes.end()) return tensor;
  std::vector<std::string> texts;
  for (const std::vector<size_t>& shape : shapes) texts.push_back(ShapeText(shape));
  Fail(part,
       fmt::format("shape {} for a matrix of {} outputs and {} inputs", fmt::join(texts, " or "),
                   rows_, cols_),
       ShapeText(tensor.shape));
}

const Tensor& MatrixTensors::TakeScalar(std::string_view part, std::initializer_list<DType> types) {
  const Tensor& tensor = Taken(part, types);
  if (!HasOneElement(tensor)) Fail(part, "one number", "shape " + ShapeText(tensor.shape));
  return tensor;
}

float MatrixTensors::TakePositive(std::string_view part, std::initializer_list<DType> types) {
  const float number = NumberAt(TakeScalar(part, types), 0);
  if (!(number > 0) || !std::isfinite(number))
    Fail(part, "a positive number", fmt::format("{}", number));
  return number;
}

float NumberAt(const Tensor& tensor, size_t i) {
  constexpr int kE8m0Bias = 127;
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  switch (tensor.dtype) {
    case DType::kF32:
      return ElementsOf<float>(tensor)[i];
    case DType::kF16:
      return HalfToFloat(ElementsOf<uint16_t>(tensor)[i]);
    case DType::kBF16:
      return BFloatToFloat(ElementsOf<uint16_t>(tensor)[i]);
    case DType::kF8E4M3: {
      const uint8_t code = ElementsOf<uint8_t>(tensor)[i];
      return IsE4m3Nan(code) ? kNan : kE4m3Numbers[code];
    }
    case DType::kU8: {
      const uint8_t power = ElementsOf<uint8_t>(tensor)[i];
      return power == 255 ? kNan : std::ldexp(1.0f, power - kE8m0Bias);
    }
    default:
      QR_CHECK(false);
      return 0;
  }
}

}  // namespace quantref
