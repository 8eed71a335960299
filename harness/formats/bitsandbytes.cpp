#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>

#include "harness/base/error.h"
#include "harness/formats/decoded_rows.h"
#include "harness/formats/foreign_folder.h"
#include "harness/formats/matrix_tensors.h"
#include "harness/formats/table_source.h"
#include "harness/io/json_file.h"
#include "harness/quant/dynamic_map.h"
#include "harness/quant/format.h"
#include "harness/quant/packed_matrix.h"

// Folders of bitsandbytes, as transformers saves them. Of each matrix, (out, in):
//   4 bits  weight uint8: codes row by row, the upper half of a byte first; weight.absmax, one FP32
//           number for each `blocksize` weights, counted on from row to row, or, nested, a code of
//           weight.nested_quant_map under weight.nested_absmax, plus nested_offset;
//           weight.quant_map, the 16 levels; weight.quant_state.bitsandbytes__{nf4,fp4}: JSON
//   int8    weight int8, SCB: the largest magnitude of each row, which is 127

namespace quantref {
namespace {

constexpr std::string_view kStateName = "weight.quant_state.bitsandbytes__";
constexpr size_t kMostStateBytes = 1 << 16;

// What the JSON in quant_state says.
struct BnbState {
  std::string quant_type;
  size_t blocksize = 0;
  std::vector<uint64_t> shape;
  bool nested = false;
  size_t nested_blocksize = 0;
  float nested_offset = 0;
};

BnbState ReadState(MatrixTensors& tensors, std::string_view type) {
  const std::string part = std::string(kStateName) + std::string(type);
  const Tensor* const stored = tensors.Find(part);
  if (stored == nullptr) tensors.Fail(part, "it beside the others of its matrix", "none");
  if (stored->bytes > kMostStateBytes)
    tensors.Fail(part, "a short JSON text", fmt::format("{} bytes", stored->bytes));
  const Tensor& tensor = tensors.Take(part, {DType::kU8}, {stored->bytes});
  const std::string_view text(reinterpret_cast<const char*>(tensor.data), tensor.bytes);
  const std::string where = tensors.where() + ", tensor " + tensor.name;
  const nlohmann::json document = ParseJson(text, where);
  const JsonFields json(document, where);
  BnbState state;
  state.quant_type = json.Text("quant_type");
  if (state.quant_type != type) json.Fail("quant_type", Quoted(type));
  state.blocksize = json.Count("blocksize", 1, 1 << 20);
  state.shape = json.Counts("shape");
  state.nested = json.Has("nested_blocksize");
  if (!state.nested) return state;
  state.nested_blocksize = json.Count("nested_blocksize", 1, 1 << 20);
  if (!json.Has("nested_offset") || !json["nested_offset"].is_number())
    json.Fail("nested_offset", "a number");
  state.nested_offset = static_cast<float>(json["nested_offset"].get<double>());
  if (!std::isfinite(state.nested_offset)) json.Fail("nested_offset", "a number of FP32");
  return state;
}

// Throws Error unless the tensor holds the table's levels.
void CheckLevels(MatrixTensors& tensors, std::string_view part, const LevelTable& levels) {
  const Tensor& tensor = tensors.Take(part, {DType::kF32}, {levels.size()});
  const auto stored = ElementsOf<float>(tensor);
  for (size_t code = 0; code < levels.size(); ++code) {
    if (stored[code] == levels[code]) continue;
    tensors.Fail(part, fmt::format("the level {} for code {}", levels[code], code),
                 fmt::format("{}", stored[code]));
  }
}

// Codes and scales of 4 bits, found.
struct BnbMatrix {
  size_t rows = 0, cols = 0;
  const NumberFormat* format = nullptr;
  BnbState state;
  const Tensor *codes = nullptr, *absmax = nullptr, *nested_absmax = nullptr;
  std::vector<std::span<const std::byte>> stored;
  std::string where;

  size_t Scales() const { return (rows * cols + state.blocksize - 1) / state.blocksize; }
  // Where blocks do not run on from row to row, and scales are nested as they are here.
  bool IsPacked() const {
    return cols % state.blocksize == 0 && (!state.nested || state.nested_blocksize == kNestedBlock);
  }
  WeightScheme Scheme() const {
    WeightScheme scheme = SchemeOf(*format);
    scheme.granularity = Granularity::kGroup;
    scheme.group = state.blocksize;
    scheme.double_quant = state.nested;
    return scheme;
  }
};

std::vector<float> BnbScales(const BnbMatrix& matrix) {
  std::vector<float> scales;
  for (size_t i = 0; i < matrix.Scales(); ++i) {
    if (!matrix.state.nested) {
      scales.push_back(ElementsOf<float>(*matrix.absmax)[i]);
      continue;
    }
    const float level = DynamicMap()[ElementsOf<uint8_t>(*matrix.absmax)[i]];
    const float absmax =
        ElementsOf<float>(*matrix.nested_absmax)[i / matrix.state.nested_blocksize];
    scales.push_back(level * absmax + matrix.state.nested_offset);
  }
  return scales;
}

// By rows, of blocks that run on.
Weight DecodeBnb(const BnbMatrix& matrix, std::vector<CountedNote>& notes) {
  std::vector<float> scales = BnbScales(matrix);
  if (!std::ranges::all_of(scales, [](float scale) { return std::isfinite(scale); })) {
    throw Error(fmt::format("tensor {}: expected finite scales, found others", matrix.absmax->name),
                matrix.where, kDamagedFile);
  }
  CountOddScales(scales, notes);
  const auto decode = [matrix, scales = std::move(scales)](size_t row, std::span<float> values) {
    const auto codes = ElementsOf<uint8_t>(*matrix.codes);
    for (size_t c = 0; c < values.size(); ++c) {
      const size_t at = row * matrix.cols + c;
      const uint8_t pair = codes[at / 2];
      const size_t code = at % 2 == 0 ? pair >> 4 : pair & 0xf;
      values[c] = scales[at / matrix.state.blocksize] * matrix.format->levels[code];
    }
  };
  const std::string form = "bitsandbytes " + HashedForm(matrix.Scheme());
  return Weight(
      std::make_shared<const DecodedRows>(form, matrix.rows, matrix.cols, matrix.stored, decode));
}

Weight ReadBnb(const BnbMatrix& matrix, std::vector<CountedNote>& notes) {
  if (!matrix.IsPacked()) return DecodeBnb(matrix, notes);
  TableSource source;
  source.rows = matrix.rows;
  source.cols = matrix.cols;
  source.scheme = matrix.Scheme();
  source.codes = {matrix.codes->data, matrix.codes->bytes};
  source.swapped = true;
  source.scales_name = matrix.absmax->name;
  const auto bytes = ElementsOf<uint8_t>(*matrix.absmax);
  source.scales.assign(bytes.begin(), bytes.end());
  if (matrix.state.nested) {
    const auto absmax = ElementsOf<float>(*matrix.nested_absmax);
    source.frame.mean = matrix.state.nested_offset;
    source.frame.absmax.assign(absmax.begin(), absmax.end());
  }
  source.stored = matrix.stored;
  return ReadTable(source, matrix.where, notes);
}

void CheckStateShape(const MatrixTensors& tensors, const BnbState& state) {
  if (state.shape == std::vector<uint64_t>{tensors.rows(), tensors.cols()}) return;
  tensors.Fail(std::string(kStateName) + state.quant_type,
               fmt::format("the shape ({}, {})", tensors.rows(), tensors.cols()),
               "another, of " + std::to_string(state.shape.size()) + " sizes");
}

ForeignMatrix Find4Bits(MatrixTensors& tensors, const std::string& where) {
  const bool is_nf4 = tensors.Find(std::string(kStateName) + "nf4") != nullptr;
  BnbMatrix matrix;
  matrix.rows = tensors.rows();
  matrix.cols = tensors.cols();
  matrix.format = FindFormat(is_nf4 ? "nf4" : "fp4");
  matrix.state = ReadState(tensors, matrix.format->name);
  matrix.where = where;
  CheckStateShape(tensors, matrix.state);
  const size_t bytes = (matrix.rows * matrix.cols + 1) / 2, scales = matrix.Scales();
  matrix.codes = &tensors.TakeAny("weight", {DType::kU8}, {{bytes, 1}, {bytes}});
  CheckLevels(tensors, "weight.quant_map", matrix.format->levels);
  matrix.absmax =
      &tensors.Take("weight.absmax", {matrix.state.nested ? DType::kU8 : DType::kF32}, {scales});
  if (matrix.state.nested) {
    const size_t blocks =
        (scales + matrix.state.nested_blocksize - 1) / matrix.state.nested_blocksize;
    matrix.nested_absmax = &tensors.Take("weight.nested_absmax", {DType::kF32}, {blocks});
    CheckLevels(tensors, "weight.nested_quant_map", DynamicMap());
  }
  matrix.stored = tensors.stored();
  ForeignMatrix found;
  found.type = SchemeName(matrix.Scheme());
  found.codes = matrix.Scheme();
  found.tensors = tensors.names();
  found.read = [matrix](std::vector<CountedNote>& notes) { return ReadBnb(matrix, notes); };
  return found;
}

// W = q * SCB / 127, as bitsandbytes has it: two products in FP32.
Weight ReadInt8(const Tensor& weight, const Tensor& absmax, size_t rows, size_t cols,
                const std::string& where, std::vector<CountedNote>& notes) {
  constexpr float kInverse = 7.874015718698502e-3f;
  const auto scales = ElementsOf<float>(absmax);
  for (const float scale : scales) {
    if (!std::isfinite(scale) || scale < 0) {
      throw Error(fmt::format("tensor {}: expected the largest magnitudes of rows, found {}",
                              absmax.name, scale),
                  where, kDamagedFile);
    }
  }
  CountOddScales(scales, notes);
  const auto decode = [&weight, scales, cols](size_t row, std::span<float> values) {
    const int8_t* const codes = ElementsOf<int8_t>(weight).data() + row * cols;
    for (size_t c = 0; c < cols; ++c)
      values[c] = static_cast<float>(codes[c]) * scales[row] * kInverse;
  };
  std::vector<std::span<const std::byte>> stored = {{weight.data, weight.bytes},
                                                    {absmax.data, absmax.bytes}};
  return Weight(std::make_shared<const DecodedRows>("bitsandbytes int8", rows, cols,
                                                    std::move(stored), decode));
}

ForeignMatrix FindInt8(MatrixTensors& tensors, std::optional<double> threshold,
                       const std::string& where) {
  const size_t rows = tensors.rows(), cols = tensors.cols();
  const Tensor& weight = tensors.Take("weight", {DType::kI8}, {rows, cols});
  const Tensor& absmax = tensors.Take("SCB", {DType::kF32}, {rows});
  if (tensors.Find("weight_format") != nullptr) {
    const Tensor& layout = tensors.TakeScalar("weight_format", {DType::kU8});
    const uint8_t format = ElementsOf<uint8_t>(layout)[0];
    if (format != 0) tensors.Fail("weight_format", "0, row after row", fmt::format("{}", format));
  }
  ForeignMatrix found;
  const WeightScheme scheme = {.bits = 8, .granularity = Granularity::kRow, .symmetric = true};
  found.type = SchemeName(scheme);
  found.codes = scheme;
  found.tensors = tensors.names();
  found.activations = ActivationFormat{};
  if (threshold) found.activations->outliers = OutlierRule{*threshold, OutlierRule::Weights::kInt8};
  found.read = [&weight, &absmax, rows, cols, where](std::vector<CountedNote>& notes) {
    return ReadInt8(weight, absmax, rows, cols, where, notes);
  };
  return found;
}

class BnbCheckpoint final : public ForeignCheckpoint {
 public:
  explicit BnbCheckpoint(ForeignFolder folder) : folder_(std::move(folder)) {
    const JsonFields json = folder_.fields();
    RefuseUnknownKeys(
        folder_.settings, json.where(),
        {"quant_method", "load_in_8bit", "load_in_4bit", "_load_in_8bit", "_load_in_4bit",
         "llm_int8_threshold", "llm_int8_skip_modules", "llm_int8_enable_fp32_cpu_offload",
         "llm_int8_has_fp16_weight", "bnb_4bit_quant_type", "bnb_4bit_use_double_quant",
         "bnb_4bit_compute_dtype", "bnb_4bit_quant_storage"});
    const auto flag = [&](const char* key, const char* old) {
      return json.Has(key) ? json.Flag(key) : json.FlagOr(old, false);
    };
    int8_ = flag("load_in_8bit", "_load_in_8bit");
    if (int8_ == flag("load_in_4bit", "_load_in_4bit"))
      json.Fail("load_in_4bit", "either it or load_in_8bit to be true");
    if (json.FlagOr("llm_int8_has_fp16_weight", false))
      RefuseSetting(folder_, "llm_int8_has_fp16_weight");
    if (json.Has("bnb_4bit_quant_storage") && json.Text("bnb_4bit_quant_storage") != "uint8" &&
        !int8_) {
      RefuseSetting(folder_, "4-bit codes stored as " + json.Text("bnb_4bit_quant_storage"),
                    "save the model with bnb_4bit_quant_storage: uint8");
    }
    const bool is_none = json.Has("llm_int8_threshold") && json["llm_int8_threshold"].is_number() &&
                         json["llm_int8_threshold"].get<double>() == 0;
    if (!is_none) threshold_ = json.PositiveOr("llm_int8_threshold", 6);
    name_ = int8_                             ? "LLM.int8()"
            : json.Has("bnb_4bit_quant_type") ? json.Text("bnb_4bit_quant_type")
                                              : "fp4";
  }

  std::string format() const override { return "bitsandbytes " + name_; }
  std::optional<int> promised_bits() const override { return int8_ ? 8 : 4; }

  std::optional<ForeignMatrix> Find(const std::string& name, size_t rows,
                                    size_t cols) const override {
    MatrixTensors tensors(folder_, name, rows, cols);
    if (tensors.IsPlain()) return std::nullopt;
    tensors.RequireUnlisted({"llm_int8_skip_modules"});
    return int8_ ? FindInt8(tensors, threshold_, folder_.where) : Find4Bits(tensors, folder_.where);
  }

 private:
  ForeignFolder folder_;
  bool int8_ = false;
  std::optional<double> threshold_;  // none: no channel is left out
  std::string name_;
};

}  // namespace

std::shared_ptr<const ForeignCheckpoint> OpenBitsAndBytes(ForeignFolder folder) {
  return std::make_shared<const BnbCheckpoint>(std::move(folder));
}

}  // namespace quantref
