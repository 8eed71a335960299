#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <memory>
#include <utility>

#include "harness/base/align.h"
#include "harness/base/error.h"
#include "harness/formats/affine_source.h"
#include "harness/formats/foreign_folder.h"
#include "harness/formats/matrix_tensors.h"
#include "harness/io/json_file.h"

// AWQ checkpoints as AutoAWQ writes them: 4 bits, with the zeros as they are. Of each matrix
//   gemm  qweight (in, out / 8), qzeros (groups, out / 8), scales (groups, out): words of eight
//         neighbouring outputs, which lie in the order 0, 2, 4, 6, 1, 3, 5, 7
//   gemv  qweight (out, in / 8), qzeros (out, words), scales (out, 8 * words): words of eight
//         neighbouring inputs, or groups, in their order; rows of zeros and scales are filled up
// Its scales of channels are folded into norms and matrices: they are part of these.

namespace quantref {
namespace {

constexpr size_t kAwqBits = 4, kInWord = 8;
constexpr std::array<size_t, kInWord> kGemmNibble = {0, 4, 1, 5, 2, 6, 3, 7};  // of each output

// What a checkpoint may say beside what is read here: how it was made, and what runs it.
constexpr std::string_view kAwqSaid[] = {"quant_method",
                                         "bits",
                                         "w_bit",
                                         "group_size",
                                         "q_group_size",
                                         "zero_point",
                                         "version",
                                         "format",
                                         "checkpoint_format",
                                         "pack_dtype",
                                         "backend",
                                         "modules_to_not_convert",
                                         "do_fuse",
                                         "fuse_max_seq_len",
                                         "modules_to_fuse",
                                         "exllama_config",
                                         "model_name_or_path"};

struct AwqTensors {
  const Tensor *codes, *zeros, *scales;
};

uint32_t NibbleAt(const Tensor& words, size_t word, size_t nibble) {
  return ElementsOf<uint32_t>(words)[word] >> (kAwqBits * nibble) & 0xf;
}

// Words a row of gemv's zeros.
size_t GemvZeroWords(size_t cols, size_t group) {
  const size_t multiple = group >= 128 ? 1 : group == 64 ? 2 : 4;
  const size_t words = (cols / group + kInWord - 1) / kInWord;
  return RoundUp(words, multiple);
}

void SetGemm(AffineSource& source, const AwqTensors& tensors) {
  const size_t rows = source.rows, words = rows / kInWord;
  source.codes = [tensors, words](size_t row, std::span<uint8_t> codes) {
    const size_t nibble = kGemmNibble[row % kInWord];
    for (size_t i = 0; i < codes.size(); ++i) {
      codes[i] = static_cast<uint8_t>(NibbleAt(*tensors.codes, i * words + row / kInWord, nibble));
    }
  };
  source.scale = [tensors, rows](size_t row, size_t group) {
    return NumberAt(*tensors.scales, group * rows + row);
  };
  source.zero = [tensors, words](size_t row, size_t group) {
    return static_cast<int>(
        NibbleAt(*tensors.zeros, group * words + row / kInWord, kGemmNibble[row % kInWord]));
  };
}

void SetGemv(AffineSource& source, const AwqTensors& tensors, size_t zero_words) {
  const size_t words = source.cols / kInWord;
  source.codes = [tensors, words](size_t row, std::span<uint8_t> codes) {
    for (size_t i = 0; i < codes.size(); ++i) {
      codes[i] =
          static_cast<uint8_t>(NibbleAt(*tensors.codes, row * words + i / kInWord, i % kInWord));
    }
  };
  source.scale = [tensors, zero_words](size_t row, size_t group) {
    return NumberAt(*tensors.scales, row * zero_words * kInWord + group);
  };
  source.zero = [tensors, zero_words](size_t row, size_t group) {
    return static_cast<int>(
        NibbleAt(*tensors.zeros, row * zero_words + group / kInWord, group % kInWord));
  };
}

class AwqCheckpoint final : public ForeignCheckpoint {
 public:
  explicit AwqCheckpoint(ForeignFolder folder) : folder_(std::move(folder)) {
    const JsonFields json = folder_.fields();
    const char* const bits = json.Has("w_bit") ? "w_bit" : "bits";
    json.Count(bits, kAwqBits, kAwqBits);
    const char* const group = json.Has("q_group_size") ? "q_group_size" : "group_size";
    if (json.Has(group) && json[group] != -1) group_ = json.Count(group, 1, kMostGroupInputs);
    if (!json.Has(group)) json.Fail(group, "the inputs of a group");
    if (!json.FlagOr("zero_point", true)) RefuseSetting(folder_, "AWQ without zero points");
    if (json.Has("pack_dtype") && json.Text("pack_dtype") != "int32")
      RefuseSetting(folder_, "a pack_dtype of " + ShownJson(json["pack_dtype"]));
    const std::string version = VersionOf(json);
    if (version != "gemm" && version != "gemv") {
      RefuseSetting(folder_, fmt::format("AWQ of the version {}", Quoted(version)),
                    "save it as gemm or gemv");
    }
    if (json.Has("backend") && json["backend"] == "llm-awq")
      RefuseSetting(folder_, "the layout of llm-awq");
    gemv_ = version == "gemv";
  }

  std::string format() const override { return gemv_ ? "awq gemv" : "awq gemm"; }
  std::optional<int> promised_bits() const override { return static_cast<int>(kAwqBits); }

  std::optional<ForeignMatrix> Find(const std::string& name, size_t rows,
                                    size_t cols) const override;

  std::vector<std::string> Others(std::vector<CountedNote>& notes) const override {
    AddNotes(folder_.notes, notes);
    NoteUnknownKeys(folder_.settings, kAwqSaid, notes);
    return ZeroBiases(folder_, "qweight", notes);
  }

 private:
  std::string VersionOf(const JsonFields& json) const;
  AwqTensors Take(MatrixTensors& tensors, size_t group) const;

  ForeignFolder folder_;
  std::optional<size_t> group_;  // none: whole rows
  bool gemv_ = false;
};

// In small letters, whichever tool's word for it: AutoAWQ's, transformers', GPTQModel's.
std::string AwqCheckpoint::VersionOf(const JsonFields& json) const {
  std::optional<std::string> version;
  for (const char* key : {"version", "format", "checkpoint_format"}) {
    if (!json.Has(key)) continue;
    std::string said = json.Text(key);
    std::ranges::transform(said, said.begin(),
                           [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (version && *version != said) {
      RefuseSetting(folder_,
                    fmt::format("AWQ of two versions, {} and {}", Quoted(*version), Quoted(said)));
    }
    version = std::move(said);
  }
  return version.value_or("gemm");
}

AwqTensors AwqCheckpoint::Take(MatrixTensors& tensors, size_t group) const {
  const size_t rows = tensors.rows(), cols = tensors.cols(), groups = cols / group;
  const size_t along = gemv_ ? cols : rows;
  if (cols % group != 0 || along % kInWord != 0) {
    tensors.Fail("qweight",
                 fmt::format("inputs that groups of {} divide, and {} that {} divides", group,
                             gemv_ ? "inputs" : "outputs", kInWord),
                 fmt::format("{} inputs and {} outputs", cols, rows));
  }
  using Shape = std::vector<size_t>;
  const size_t zero_words = GemvZeroWords(cols, group);
  const Shape codes = gemv_ ? Shape{rows, cols / kInWord} : Shape{cols, rows / kInWord};
  const Shape zeros = gemv_ ? Shape{rows, zero_words} : Shape{groups, rows / kInWord};
  const Shape scales = gemv_ ? Shape{rows, zero_words * kInWord} : Shape{groups, rows};
  return {&tensors.Take("qweight", {DType::kI32}, codes),
          &tensors.Take("qzeros", {DType::kI32}, zeros),
          &tensors.Take("scales", kFloatTypes, scales)};
}

std::optional<ForeignMatrix> AwqCheckpoint::Find(const std::string& name, size_t rows,
                                                 size_t cols) const {
  MatrixTensors tensors(folder_, name, rows, cols);
  if (tensors.Find("qweight") == nullptr && tensors.IsPlain()) return std::nullopt;
  tensors.RequireUnlisted({"modules_to_not_convert"});
  const size_t group = group_.value_or(cols);
  const AwqTensors found = Take(tensors, group);
  AffineSource source;
  source.tool = gemv_ ? "awq gemv" : "awq gemm";
  source.rows = rows;
  source.cols = cols;
  source.scheme = IntScheme(name, kAwqBits, group_, false, folder_, false);
  source.scales_name = found.scales->name;
  source.fp16_scales = found.scales->dtype == DType::kF16;
  source.stored = tensors.stored();
  if (gemv_) {
    SetGemv(source, found, GemvZeroWords(cols, group));
  } else {
    SetGemm(source, found);
  }
  ForeignMatrix matrix;
  matrix.type = SchemeName(source.scheme);
  matrix.codes = source.scheme;
  matrix.tensors = tensors.names();
  matrix.read = [source = std::move(source), where = folder_.where](
                    std::vector<CountedNote>& notes) { return ReadAffine(source, where, notes); };
  return matrix;
}

}  // namespace

std::shared_ptr<const ForeignCheckpoint> OpenAwq(ForeignFolder folder) {
  return std::make_shared<const AwqCheckpoint>(std::move(folder));
}

}  // namespace quantref
