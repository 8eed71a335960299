#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <string_view>
#include <utility>

#include "harness/base/error.h"
#include "harness/formats/affine_source.h"
#include "harness/formats/ct_config.h"
#include "harness/formats/ct_inputs.h"
#include "harness/formats/foreign_folder.h"
#include "harness/formats/matrix_tensors.h"
#include "harness/formats/table_source.h"
#include "harness/io/json_file.h"
#include "harness/quant/format.h"

// Folders of compressed-tensors (llm-compressor, AutoRound, vLLM's own). Of each matrix, (out, in):
//   pack-quantized        weight_packed int32 (out, words): codes q + 2^(b-1), one bit stream a
//                         row; weight_scale; weight_zero_point int32 (words, groups), one bit
//                         stream a group along the outputs; weight_shape; weight_g_idx
//   int-quantized         weight int8, weight_scale, weight_zero_point int8
//   float-quantized       weight E4M3, weight_scale of the tensor, rows, groups or blocks
//   mxfp8-quantized       the same with powers of two for groups
//   nvfp4-pack-quantized  weight_packed (out, in / 2), the lower half of a byte first; weight_scale
//                         E4M3 (out, in / 16), over weight_global_scale
//   mxfp4-pack-quantized  the same with powers of two for 32 inputs each

namespace quantref {
namespace {

using Strategy = CtArgs::Strategy;

// A matrix as its reader found it.
struct CtMatrix {
  std::string type;
  StoredCodes codes;
  std::function<Weight(std::vector<CountedNote>& notes)> read;
};

struct CtContext {
  const ForeignFolder& folder;
  const CtGroup& group;
};

[[noreturn]] void RefuseWeights(const CtContext& context, const std::string& what) {
  RefuseSetting(context.folder,
                fmt::format("{} with {} ({})", context.group.format, what, context.group.name));
}

// The inputs that share a scale; none: all of a row or of the matrix. Error where groups do not
// divide them, as compressed-tensors asks for.
std::optional<size_t> GroupOfInputs(const CtContext& context, const MatrixTensors& tensors) {
  const CtArgs& args = context.group.weights;
  if (args.group == 0) return std::nullopt;
  if (tensors.cols() % args.group != 0) {
    RefuseWeights(context, fmt::format("groups of {} in {} inputs of {}", args.group,
                                       tensors.cols(), tensors.name()));
  }
  return args.group;
}

// The tensor of one number for each scale, or of zeros like it. Rows of a tensor may be given as
// (rows, 1) or (rows).
const Tensor& TakeFactors(MatrixTensors& tensors, const CtArgs& args, std::string_view part,
                          std::initializer_list<DType> types) {
  const size_t rows = tensors.rows(), cols = tensors.cols();
  if (args.strategy == Strategy::kTensor) return tensors.TakeScalar(part, types);
  if (args.group > 0) return tensors.Take(part, types, {rows, cols / args.group});
  if (args.strategy == Strategy::kBlock) {
    return tensors.Take(part, types,
                        {(rows + args.block_rows - 1) / args.block_rows,
                         (cols + args.block_cols - 1) / args.block_cols});
  }
  return tensors.TakeAny(part, types, {{rows, 1}, {rows}});
}

// What pack- and int-quantized have in common; codes and zeros are missing.
AffineSource AffineOf(const CtContext& context, MatrixTensors& tensors) {
  const CtArgs& args = context.group.weights;
  const bool reach = args.strategy == Strategy::kTensor || args.strategy == Strategy::kChannel ||
                     args.strategy == Strategy::kGroup;
  if (args.is_float || args.bits < kMinBits || !reach)
    RefuseWeights(context, "weights that are no integers by tensor, channel or group");
  AffineSource source;
  source.tool = "compressed-tensors";
  source.rows = tensors.rows();
  source.cols = tensors.cols();
  source.scheme = IntScheme(tensors.name(), args.bits, GroupOfInputs(context, tensors),
                            args.symmetric, context.folder, true);
  if (args.strategy == Strategy::kTensor) source.scheme.granularity = Granularity::kTensor;
  const Tensor& scales = TakeFactors(tensors, args, "weight_scale", kFloatTypes);
  source.scales_name = scales.name;
  source.fp16_scales = scales.dtype == DType::kF16;
  const size_t across = ShapeOfScales(source.rows, source.cols, source.scheme).cols;
  source.scale = [&scales, across](size_t row, size_t group) {
    return NumberAt(scales, row * across + group);
  };
  return source;
}

// Zeros of 8 bits, one a scale.
void TakeByteZeros(const CtContext& context, MatrixTensors& tensors, AffineSource& source) {
  const Tensor& zeros =
      TakeFactors(tensors, context.group.weights, "weight_zero_point", {DType::kI8});
  const size_t across = ShapeOfScales(source.rows, source.cols, source.scheme).cols;
  const int middle = 1 << (source.scheme.bits - 1);
  source.zero = [&zeros, across, middle](size_t row, size_t group) {
    return ElementsOf<int8_t>(zeros)[row * across + group] + middle;
  };
}

// Zeros packed along the outputs, a column of words for each column of scales.
void TakePackedZeros(MatrixTensors& tensors, AffineSource& source) {
  const size_t bits = static_cast<size_t>(source.scheme.bits);
  const size_t across = ShapeOfScales(source.rows, source.cols, source.scheme).cols;
  const Tensor& zeros =
      tensors.Take("weight_zero_point", {DType::kI32}, {WordsOf(source.rows, bits), across});
  source.zero = [&zeros, across, bits](size_t row, size_t group) {
    const uint32_t* const words = ElementsOf<uint32_t>(zeros).data() + group;
    return static_cast<int>(BitsAt(words, across, row * bits, bits));
  };
}

// Groups of inputs by number, where a tool that was allowed to choose them did; -1 throughout says
// that it did not.
void TakeGroupIndex(const CtArgs& args, MatrixTensors& tensors, AffineSource& source) {
  constexpr char kPart[] = "weight_g_idx";
  if (tensors.Find(kPart) == nullptr) {
    if (args.by_index && args.strategy == Strategy::kGroup)
      tensors.Fail(kPart, "the group of each input, as actorder is group", "none");
    return;
  }
  const Tensor& index = tensors.Take(kPart, {DType::kI32}, {source.cols});
  const auto stored = ElementsOf<int32_t>(index);
  if (std::ranges::all_of(stored, [](int32_t group) { return group == -1; })) return;
  const ScaleShape shape = ShapeOfScales(source.rows, source.cols, source.scheme);
  source.group_of = ReadGroupIndex(tensors, index, kPart, shape.cols_each, shape.cols);
}

// Throws Error unless weight_shape holds the matrix's.
void CheckShape(MatrixTensors& tensors) {
  const Tensor& shape = tensors.Take("weight_shape", {DType::kI64, DType::kI32}, {2});
  const auto at = [&](size_t i) -> int64_t {
    return shape.dtype == DType::kI64 ? ElementsOf<int64_t>(shape)[i]
                                      : ElementsOf<int32_t>(shape)[i];
  };
  if (at(0) == static_cast<int64_t>(tensors.rows()) &&
      at(1) == static_cast<int64_t>(tensors.cols()))
    return;
  tensors.Fail("weight_shape", fmt::format("({}, {})", tensors.rows(), tensors.cols()),
               fmt::format("({}, {})", at(0), at(1)));
}

CtMatrix Finish(AffineSource source, const MatrixTensors& tensors) {
  source.stored = tensors.stored();
  const WeightScheme scheme = source.scheme;
  return {SchemeName(scheme), scheme,
          [source = std::move(source), where = tensors.where()](std::vector<CountedNote>& notes) {
            return ReadAffine(source, where, notes);
          }};
}

CtMatrix FindPacked(const CtContext& context, MatrixTensors& tensors) {
  AffineSource source = AffineOf(context, tensors);
  const size_t bits = static_cast<size_t>(source.scheme.bits), words = WordsOf(source.cols, bits);
  const Tensor& packed = tensors.Take("weight_packed", {DType::kI32}, {source.rows, words});
  CheckShape(tensors);
  source.codes = [&packed, bits, words](size_t row, std::span<uint8_t> codes) {
    const uint32_t* const stored = ElementsOf<uint32_t>(packed).data() + row * words;
    for (size_t i = 0; i < codes.size(); ++i)
      codes[i] = static_cast<uint8_t>(BitsAt(stored, 1, i * bits, bits));
  };
  if (!source.scheme.symmetric) {
    context.group.weights.strategy == Strategy::kTensor ? TakeByteZeros(context, tensors, source)
                                                        : TakePackedZeros(tensors, source);
  }
  TakeGroupIndex(context.group.weights, tensors, source);
  return Finish(std::move(source), tensors);
}

CtMatrix FindInt(const CtContext& context, MatrixTensors& tensors) {
  AffineSource source = AffineOf(context, tensors);
  const size_t cols = source.cols;
  const Tensor& weight = tensors.Take("weight", {DType::kI8}, {source.rows, cols});
  // Some versions keep the zeros of symmetric weights, which are 0.
  if (!source.scheme.symmetric || tensors.Find("weight_zero_point") != nullptr)
    TakeByteZeros(context, tensors, source);
  const int middle = 1 << (source.scheme.bits - 1);
  source.codes = [&weight, cols, middle, where = tensors.where()](size_t row,
                                                                  std::span<uint8_t> codes) {
    const int8_t* const stored = ElementsOf<int8_t>(weight).data() + row * cols;
    for (size_t i = 0; i < cols; ++i) {
      if (stored[i] < -middle || stored[i] >= middle) {
        throw Error(fmt::format("tensor {}: expected numbers from {} to {}, found {}", weight.name,
                                -middle, middle - 1, stored[i]),
                    where);
      }
      codes[i] = static_cast<uint8_t>(stored[i] + middle);
    }
  };
  TakeGroupIndex(context.group.weights, tensors, source);
  return Finish(std::move(source), tensors);
}

// weight_scale's type and blocks by the strategy.
CtMatrix FindFloat8(const CtContext& context, MatrixTensors& tensors,
                    std::initializer_list<DType> scale_types) {
  const CtArgs& args = context.group.weights;
  if (!args.is_float || args.bits != 8 || !args.symmetric)
    RefuseWeights(context, "weights that are no symmetric 8-bit floats");
  if (args.strategy == Strategy::kToken) RefuseWeights(context, "scales by token");
  Float8Source source;
  source.tool = "compressed-tensors";
  source.rows = tensors.rows();
  source.cols = tensors.cols();
  source.rows_each = args.strategy == Strategy::kTensor  ? source.rows
                     : args.strategy == Strategy::kBlock ? args.block_rows
                                                         : 1;
  source.cols_each = args.strategy == Strategy::kBlock
                         ? args.block_cols
                         : GroupOfInputs(context, tensors).value_or(source.cols);
  source.codes = &tensors.Take("weight", {DType::kF8E4M3}, {source.rows, source.cols});
  source.scales = &TakeFactors(tensors, args, "weight_scale", scale_types);
  source.stored = tensors.stored();
  return {Float8Name(source), CodesOf(source),
          [source, where = tensors.where()](std::vector<CountedNote>& notes) {
            return ReadFloat8(source, where, notes);
          }};
}

CtMatrix FindFloat(const CtContext& context, MatrixTensors& tensors) {
  return FindFloat8(context, tensors, kFloatTypes);
}

CtMatrix FindMxfp8(const CtContext& context, MatrixTensors& tensors) {
  return FindFloat8(context, tensors, {DType::kU8});
}

// By what the weights are.
CtMatrix FindNaive(const CtContext& context, MatrixTensors& tensors) {
  return context.group.weights.is_float ? FindFloat(context, tensors) : FindInt(context, tensors);
}

CtMatrix FindFloat4(const CtContext& context, MatrixTensors& tensors, const char* format,
                    DType scale_type) {
  const CtArgs& args = context.group.weights;
  TableSource source;
  source.rows = tensors.rows();
  source.cols = tensors.cols();
  source.scheme = SchemeOf(*FindFormat(format));
  if (!args.is_float || args.bits != 4 || !args.symmetric || args.group != source.scheme.group)
    RefuseWeights(context, fmt::format("weights other than {}", SchemeName(source.scheme)));
  GroupOfInputs(context, tensors);
  const Tensor& codes = tensors.Take("weight_packed", {DType::kU8}, {source.rows, source.cols / 2});
  source.codes = {codes.data, codes.bytes};
  const Tensor& scales = TakeFactors(tensors, args, "weight_scale", {scale_type});
  source.scales_name = scales.name;
  if (source.scheme.scale_type() == ScaleType::kE4m3)
    source.frame.divisor = tensors.TakePositive("weight_global_scale", {DType::kF32});
  source.stored = tensors.stored();
  return {SchemeName(source.scheme), source.scheme,
          [source, &scales, where = tensors.where()](std::vector<CountedNote>& notes) {
            TableSource whole = source;
            const auto bytes = ElementsOf<uint8_t>(scales);
            whole.scales.assign(bytes.begin(), bytes.end());
            return ReadTable(whole, where, notes);
          }};
}

CtMatrix FindNvfp4(const CtContext& context, MatrixTensors& tensors) {
  return FindFloat4(context, tensors, "nvfp4", DType::kF8E4M3);
}

CtMatrix FindMxfp4(const CtContext& context, MatrixTensors& tensors) {
  return FindFloat4(context, tensors, "mxfp4", DType::kU8);
}

struct CtFormatRow {
  std::string_view name;
  CtMatrix (*find)(const CtContext& context, MatrixTensors& tensors);
};
constexpr CtFormatRow kCtFormats[] = {
    {"pack-quantized", FindPacked},      {"int-quantized", FindInt},
    {"float-quantized", FindFloat},      {"naive-quantized", FindNaive},
    {"nvfp4-pack-quantized", FindNvfp4}, {"mxfp4-pack-quantized", FindMxfp4},
    {"mxfp8-quantized", FindMxfp8},
};

const CtFormatRow& FormatRow(const ForeignFolder& folder, const std::string& name) {
  const auto found = std::ranges::find(kCtFormats, name, &CtFormatRow::name);
  if (found == std::end(kCtFormats))
    RefuseSetting(folder, "compressed-tensors in the format " + Quoted(name));
  return *found;
}

class CtCheckpoint final : public ForeignCheckpoint {
 public:
  explicit CtCheckpoint(ForeignFolder folder)
      : folder_(std::move(folder)), config_(ReadCtConfig(folder_)) {
    for (const CtGroup& group : config_.groups) FormatRow(folder_, group.format);
  }

  std::string format() const override { return "compressed-tensors " + config_.format; }
  std::optional<int> promised_bits() const override {
    const int bits = config_.groups.front().weights.bits;
    const bool same = std::ranges::all_of(
        config_.groups, [&](const CtGroup& group) { return group.weights.bits == bits; });
    return same ? std::optional(bits) : std::nullopt;
  }

  std::optional<ForeignMatrix> Find(const std::string& name, size_t rows,
                                    size_t cols) const override;

 private:
  ForeignFolder folder_;
  CtConfig config_;
};

std::optional<ForeignMatrix> CtCheckpoint::Find(const std::string& name, size_t rows,
                                                size_t cols) const {
  MatrixTensors tensors(folder_, name, rows, cols);
  const CtGroup* const group = GroupOf(config_, name, folder_.settings_where);
  if (group == nullptr) {
    if (tensors.IsPlain()) return std::nullopt;
    tensors.Fail("weight", "plain numbers, since no group of config_groups has the matrix",
                 tensors.Find("weight") == nullptr ? "none" : "another type");
  }
  CtMatrix found = FormatRow(folder_, group->format).find({folder_, *group}, tensors);
  ForeignMatrix matrix;
  matrix.type = std::move(found.type);
  matrix.codes = std::move(found.codes);
  std::vector<std::string> told;
  if (group->inputs) matrix.activations = InputsOf(*group->inputs, tensors, folder_, told);
  matrix.tensors = tensors.names();
  matrix.read = [read = std::move(found.read), told](std::vector<CountedNote>& notes) {
    for (const std::string& what : told) AddNote(notes, what, 1, "matrices");
    return read(notes);
  };
  return matrix;
}

}  // namespace

std::shared_ptr<const ForeignCheckpoint> OpenCompressedTensors(ForeignFolder folder) {
  // Settings within settings, which transformers unwraps and whose surroundings it passes by.
  constexpr char kInner[] = "quantization_config";
  if (folder.fields().Has(kInner)) {
    RefuseUnknownKeys(folder.settings, folder.settings_where, {"quant_method", kInner});
    folder.settings = nlohmann::json(folder.settings[kInner]);
    folder.settings_where += std::string(", ") + kInner;
  }
  return std::make_shared<const CtCheckpoint>(std::move(folder));
}

}  // namespace quantref
