#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>
#include <utility>

#include "harness/base/half.h"
#include "harness/export/formats.h"
#include "harness/export/limits.h"
#include "harness/export/model_folder.h"
#include "harness/export/model_tensors.h"
#include "harness/export/packed_codes.h"
#include "harness/quant/affine.h"

// Checkpoints of compressed-tensors (vllm-project/compressed-tensors, formats pack_quantized and
// naive_quantized), which llm-compressor writes and vLLM and transformers load. Of a matrix P:
//   pack-quantized  P.weight_packed int32 (out, in * b / 32): codes along the inputs, the first in
//                   the lowest bits; P.weight_shape int64 (2); asymmetric P.weight_zero_point int32
//                   (out * b / 32 rounded up, groups): packed along the outputs
//   int-quantized   P.weight int8 (out, in); asymmetric P.weight_zero_point int8 (out, groups)
//   both            P.weight_scale (out, groups), (out, 1) or (1); static activations
//                   P.input_scale FP32 (1)
// The value is (q - zero) * scale; q and zero are signed, and stored packed plus 2^(b-1): what
// PackedMatrix has. Scales are FP16, and FP32 where they are that times a power of two. Of an order
// of columns (actorder: group) new versions know nothing.

namespace quantref {
namespace {

using Json = nlohmann::json;

// As config.json says what an activation is rounded to.
Json ActivationsJson(bool per_token) {
  return {{"num_bits", 8},        {"type", "int"},
          {"symmetric", true},    {"strategy", per_token ? "token" : "tensor"},
          {"dynamic", per_token}, {"observer", per_token ? Json(nullptr) : Json("minmax")}};
}

std::string WhyNotCompressed(const CellToExport& cell) {
  if (std::string why = WhyNothing(cell); !why.empty()) return why;
  if (!cell.activations) return "";
  const ActivationScheme& scheme = *cell.activations;
  const bool token = scheme.per_token && scheme.dynamic,
             fixed = !scheme.per_token && !scheme.dynamic;
  if (scheme.format == &kIntFormat && scheme.bits == 8 && scheme.group == 0 && !scheme.outliers &&
      (token || fixed))
    return "";
  return fmt::format("has int8 activations with a dynamic scale a token or a static one, and no {}",
                     ActivationName(scheme));
}

std::string WhyNotCompressedMatrix(const PlannedLinear& linear) {
  return FirstOf(WhyNotMultiplied(linear), WhyNotInteger(linear), WhyNotRowsOrGroups(linear));
}

std::string WhyNotPacked(const CellToExport& cell, const PlannedLinear& linear) {
  const WeightScheme& scheme = *linear.scheme;
  if (std::string why = WhyNotCompressedMatrix(linear); !why.empty()) return why;
  if (32 % scheme.bits != 0)
    return fmt::format("has codes of 2, 4 or 8 bits: versions of it pack those of {} in two ways",
                       scheme.bits);
  if (scheme.granularity == Granularity::kTensor && !scheme.symmetric)
    return "packs zero points of rows or groups";
  return WhyOrdered(cell, linear);
}

std::string WhyNotBytes(const CellToExport& cell, const PlannedLinear& linear) {
  if (linear.scheme->bits != 8) return "has codes of 8 bits (pack-quantized has fewer)";
  return FirstOf(WhyNotCompressedMatrix(linear), WhyOrdered(cell, linear));
}

// The tensors of one matrix. What they write makes the reference layout anew each time, so that one
// matrix at a time has it.
class CompressedMatrix {
 public:
  CompressedMatrix(const Linear& linear, std::string name)
      : weight_(linear.weight), linear_(linear), name_(std::move(name)) {
    const auto packed = AsPacked(weight_);
    RequireColumnsInPlace(*packed, name_);
    shape_ = {packed->scale_rows(), packed->scale_cols()};
    wide_scales_ = packed->exponent() != 0;
    bits_ = static_cast<size_t>(packed->scheme().bits);
    symmetric_ = packed->scheme().symmetric;
    tensor_ = packed->scheme().granularity == Granularity::kTensor;
  }

  std::vector<TensorToWrite> Packed() {
    const size_t rows = weight_.rows(), cols = weight_.cols();
    const int bits = static_cast<int>(bits_);
    Add("weight_packed", DType::kI32, {rows, WordsFor(cols, bits)}, &PutWords);
    Add("weight_shape", DType::kI64, {2}, [](const PackedMatrix& packed, const ByteSink& sink) {
      const std::vector<int64_t> shape = {static_cast<int64_t>(packed.rows()),
                                          static_cast<int64_t>(packed.cols())};
      sink(AsBytes(shape));
    });
    AddScales();
    if (!symmetric_)
      Add("weight_zero_point", DType::kI32, {WordsFor(rows, bits), shape_[1]}, &PutZeroWords);
    return std::move(tensors_);
  }

  std::vector<TensorToWrite> Bytes() {
    Add("weight", DType::kI8, {weight_.rows(), weight_.cols()}, &PutBytes);
    AddScales();
    if (!symmetric_) Add("weight_zero_point", DType::kI8, ScaleShapeInFile(), &PutZeroBytes);
    return std::move(tensors_);
  }

 private:
  using Put = std::function<void(const PackedMatrix& packed, const ByteSink& sink)>;

  void Add(const char* part, DType dtype, std::vector<size_t> shape, Put put) {
    tensors_.push_back({name_ + "." + part, dtype, std::move(shape),
                        [&weight = weight_, put = std::move(put)](const ByteSink& sink) {
                          put(*AsPacked(weight), sink);
                        }});
  }

  std::vector<size_t> ScaleShapeInFile() const { return tensor_ ? std::vector<size_t>{1} : shape_; }

  void AddScales() {
    Add("weight_scale", wide_scales_ ? DType::kF32 : DType::kF16, ScaleShapeInFile(),
        [wide = wide_scales_](const PackedMatrix& packed, const ByteSink& sink) {
          std::vector<float> scales;
          for (size_t r = 0; r < packed.scale_rows(); ++r) {
            for (size_t c = 0; c < packed.scale_cols(); ++c)
              scales.push_back(packed.affine(r, c).scale);
          }
          if (wide) return sink(AsBytes(scales));
          std::vector<uint16_t> halves(scales.size());
          std::transform(scales.begin(), scales.end(), halves.begin(), FloatToHalf);
          sink(AsBytes(halves));
        });
    if (!linear_.activations || !linear_.activations->static_scale) return;
    tensors_.push_back({name_ + ".input_scale",
                        DType::kF32,
                        {1},
                        [scale = *linear_.activations->static_scale](const ByteSink& sink) {
                          sink(AsBytes(std::vector<float>{scale}));
                        }});
  }

  static void PutWords(const PackedMatrix& packed, const ByteSink& sink) {
    const int bits = packed.scheme().bits;
    std::vector<uint8_t> codes(packed.cols());
    std::vector<uint32_t> words(WordsFor(packed.cols(), bits));
    for (size_t row = 0; row < packed.rows(); ++row) {
      GetColumnCodes(packed, row, codes);
      PackWords(codes, bits, words);
      sink(AsBytes(words));
    }
  }

  static void PutZeroWords(const PackedMatrix& packed, const ByteSink& sink) {
    const int bits = packed.scheme().bits;
    const size_t groups = packed.scale_cols(), height = WordsFor(packed.rows(), bits);
    std::vector<uint32_t> words(height * groups), column(height);
    std::vector<uint8_t> zeros(packed.rows());
    for (size_t group = 0; group < groups; ++group) {
      for (size_t row = 0; row < zeros.size(); ++row)
        zeros[row] = static_cast<uint8_t>(packed.affine(row, group).zero);
      PackWords(zeros, bits, column);
      for (size_t i = 0; i < height; ++i) words[i * groups + group] = column[i];
    }
    sink(AsBytes(words));
  }

  static void PutBytes(const PackedMatrix& packed, const ByteSink& sink) {
    const int middle = 1 << (packed.scheme().bits - 1);
    std::vector<uint8_t> codes(packed.cols());
    std::vector<int8_t> bytes(packed.cols());
    for (size_t row = 0; row < packed.rows(); ++row) {
      GetColumnCodes(packed, row, codes);
      std::transform(codes.begin(), codes.end(), bytes.begin(),
                     [&](uint8_t code) { return static_cast<int8_t>(code - middle); });
      sink(AsBytes(bytes));
    }
  }

  static void PutZeroBytes(const PackedMatrix& packed, const ByteSink& sink) {
    const int middle = 1 << (packed.scheme().bits - 1);
    std::vector<int8_t> zeros;
    for (size_t row = 0; row < packed.scale_rows(); ++row) {
      for (size_t group = 0; group < packed.scale_cols(); ++group)
        zeros.push_back(static_cast<int8_t>(packed.affine(row, group).zero - middle));
    }
    sink(AsBytes(zeros));
  }

  const Weight& weight_;
  const Linear& linear_;
  const std::string name_;
  std::vector<size_t> shape_;  // of scales
  size_t bits_ = 0;
  bool wide_scales_ = false, symmetric_ = false, tensor_ = false;
  std::vector<TensorToWrite> tensors_;
};

// Matrices of one entry of config_groups.
struct MatrixGroup {
  WeightScheme scheme;
  std::optional<ActivationFormat> activations;  // without the static scale
  std::vector<std::string> names;
};

std::vector<MatrixGroup> GroupsOf(const FinishedCell& cell) {
  std::vector<MatrixGroup> groups;
  ForQuantized(cell, [&](const Linear& linear, const std::string& name) {
    std::optional<ActivationFormat> activations = linear.activations;
    if (activations) activations->static_scale.reset();
    const WeightScheme& scheme = SchemeOfWeight(linear.weight);
    auto group = std::find_if(groups.begin(), groups.end(), [&](const MatrixGroup& other) {
      return other.scheme == scheme && other.activations == activations;
    });
    if (group == groups.end()) group = groups.insert(groups.end(), {scheme, activations, {}});
    group->names.push_back(name);
  });
  return groups;
}

Json WeightsJson(const MatrixGroup& group) {
  const WeightScheme& scheme = group.scheme;
  const bool grouped = scheme.granularity == Granularity::kGroup;
  const char* strategy = grouped                                   ? "group"
                         : scheme.granularity == Granularity::kRow ? "channel"
                                                                   : "tensor";
  return {{"num_bits", scheme.bits},
          {"type", "int"},
          {"symmetric", scheme.symmetric},
          {"strategy", strategy},
          {"group_size", grouped ? Json(scheme.group) : Json(nullptr)},
          {"actorder", nullptr},
          {"dynamic", false},
          {"observer", "minmax"}};
}

Json QuantizationJson(const FinishedCell& cell, const std::vector<MatrixGroup>& groups,
                      const char* format) {
  Json config_groups;
  // A class of modules stands for all that are not ignored; parts of other kinds have some, too.
  const bool by_class = groups.size() == 1 && cell.config.family->foreign.empty();
  for (size_t i = 0; i < groups.size(); ++i) {
    const MatrixGroup& group = groups[i];
    config_groups[fmt::format("group_{}", i)] = {
        {"targets", by_class ? Json::array({"Linear"}) : Json(group.names)},
        {"weights", WeightsJson(group)},
        {"input_activations",
         group.activations ? ActivationsJson(group.activations->per_token) : Json(nullptr)},
        {"output_activations", nullptr},
        {"format", format}};
  }
  return {{"quant_method", "compressed-tensors"}, {"format", format},
          {"quantization_status", "compressed"},  {"config_groups", config_groups},
          {"ignore", KeptMatrices(cell)},         {"kv_cache_scheme", nullptr}};
}

void WriteCompressed(const FinishedCell& cell, const std::filesystem::path& folder, bool packed) {
  const std::vector<MatrixGroup> groups = GroupsOf(cell);
  const auto tensors = [&](const Linear& linear, const std::string& name) {
    CompressedMatrix matrix(linear, name);
    return packed ? matrix.Packed() : matrix.Bytes();
  };
  const Json quantization = QuantizationJson(
      cell, groups, packed ? kPackQuantized.name.data() : kIntQuantized.name.data());
  WriteModelFolder(cell, folder, ModelTensors(cell, tensors), quantization);
}

}  // namespace

constinit const ExportFormat kPackQuantized{
    "pack-quantized", "compressed-tensors: int codes of 2, 4 or 8 bits in words", WhyNotCompressed,
    WhyNotPacked, [](const FinishedCell& cell, const std::filesystem::path& folder) {
      WriteCompressed(cell, folder, true);
    }};

constinit const ExportFormat kIntQuantized{
    "int-quantized", "compressed-tensors: int8 weights, for int8 activations or alone",
    WhyNotCompressed, WhyNotBytes,
    [](const FinishedCell& cell, const std::filesystem::path& folder) {
      WriteCompressed(cell, folder, false);
    }};

}  // namespace quantref
