#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#include "harness/base/error.h"
#include "harness/formats/affine_source.h"
#include "harness/formats/foreign_folder.h"
#include "harness/formats/matrix_tensors.h"
#include "harness/io/json_file.h"

// GPTQ checkpoints as AutoGPTQ and GPTQModel write them. Of each matrix, b bits a code, in words of
// 32 bits:
//   qweight (in * b / 32, out)      codes of an output, one bit stream along the inputs
//   qzeros  (groups, out * b / 32)  codes of the zeros, one bit stream along the outputs: as they
//                                   are (gptq_v2), or less 1 (gptq, the first version)
//   scales  (groups, out)
//   g_idx   (in)                    the group of each input

namespace quantref {
namespace {

constexpr std::array<uint64_t, 4> kGptqBits = {2, 3, 4, 8};

// What a checkpoint may say beside what is read here: how it was made, and what runs it.
constexpr std::string_view kGptqSaid[] = {"quant_method",
                                          "bits",
                                          "group_size",
                                          "sym",
                                          "desc_act",
                                          "format",
                                          "checkpoint_format",
                                          "dynamic",
                                          "pack_dtype",
                                          "is_marlin_format",
                                          "adapter",
                                          "rotation",
                                          "lm_head",
                                          "meta",
                                          "static_groups",
                                          "true_sequential",
                                          "damp_percent",
                                          "damp_auto_increment",
                                          "mse",
                                          "v2",
                                          "v2_alpha",
                                          "act_group_aware",
                                          "model_name_or_path",
                                          "model_file_base_name",
                                          "tokenizer",
                                          "dataset",
                                          "modules_in_block_to_quantize",
                                          "block_name_to_quantize",
                                          "module_name_preceding_first_block",
                                          "batch_size",
                                          "pad_token_id",
                                          "max_input_length",
                                          "model_seqlen",
                                          "cache_block_outputs",
                                          "use_cuda_fp16",
                                          "use_exllama",
                                          "disable_exllama",
                                          "exllama_config",
                                          "backend",
                                          "offload_to_disk",
                                          "offload_to_disk_path"};

// What may differ from matrix to matrix.
struct GptqSettings {
  int bits = 4;
  std::optional<size_t> group = 128;  // none: whole rows
  bool symmetric = true;
};

// Those of `json` over the given ones, of which all are there where `complete`.
GptqSettings ReadSettings(const JsonFields& json, const GptqSettings& otherwise, bool complete) {
  GptqSettings settings = otherwise;
  if (complete || json.Has("bits")) {
    const uint64_t bits = json.Count("bits", 2, 8);
    if (std::ranges::find(kGptqBits, bits) == kGptqBits.end()) json.Fail("bits", "2, 3, 4 or 8");
    settings.bits = static_cast<int>(bits);
  }
  if (complete || json.Has("group_size")) {
    const bool row = json.Has("group_size") && json["group_size"] == -1;
    settings.group =
        row ? std::nullopt : std::optional<size_t>(json.Count("group_size", 1, kMostGroupInputs));
  }
  settings.symmetric = json.FlagOr("sym", settings.symmetric);
  return settings;
}

bool IsFirstVersion(const ForeignFolder& folder) {
  const JsonFields json = folder.fields();
  const bool both = json.Has("checkpoint_format") && json.Has("format");
  if (both && json.Text("checkpoint_format") != json.Text("format"))
    RefuseSetting(folder, "a checkpoint_format that differs from its format");
  const char* const key = json.Has("checkpoint_format") ? "checkpoint_format" : "format";
  const std::string format = json.Has(key) ? json.Text(key) : "gptq";
  if (format != "gptq" && format != "gptq_v2")
    RefuseSetting(folder, fmt::format("GPTQ in the format {}", Quoted(format)),
                  "save it as gptq or gptq_v2");
  return format == "gptq";
}

void RefuseVariants(const ForeignFolder& folder) {
  const JsonFields json = folder.fields();
  if (json.Has("pack_dtype") && json.Text("pack_dtype") != "int32")
    RefuseSetting(folder, "a pack_dtype of " + ShownJson(json["pack_dtype"]));
  if (json.FlagOr("is_marlin_format", false)) RefuseSetting(folder, "Marlin's layout");
  for (const char* key : {"adapter", "rotation"}) {
    if (json.Has(key)) RefuseSetting(folder, fmt::format("{} {}", key, ShownJson(json[key])));
  }
}

class GptqCheckpoint final : public ForeignCheckpoint {
 public:
  explicit GptqCheckpoint(ForeignFolder folder)
      : folder_(std::move(folder)),
        first_version_(IsFirstVersion(folder_)),
        settings_(ReadSettings(folder_.fields(), {}, true)),
        orders_(folder_.fields().FlagOr("desc_act", false)) {
    RefuseVariants(folder_);
    if (folder_.fields().Has("dynamic")) folder_.fields().Object("dynamic");
  }

  std::string format() const override { return first_version_ ? "gptq v1" : "gptq v2"; }
  std::optional<int> promised_bits() const override { return settings_.bits; }

  std::optional<ForeignMatrix> Find(const std::string& name, size_t rows,
                                    size_t cols) const override;

  std::vector<std::string> Others(std::vector<CountedNote>& notes) const override {
    AddNotes(folder_.notes, notes);
    const JsonFields json = folder_.fields();
    if (!json.Has("checkpoint_format") && !json.Has("format"))
      AddNote(notes, "no checkpoint_format says its version: read as gptq, as other programs do", 1,
              "");
    NoteUnknownKeys(folder_.settings, kGptqSaid, notes);
    if (json.Has("dynamic")) {
      for (const auto& [key, rule] : folder_.settings["dynamic"].items())
        NoteUnknownKeys(rule, kGptqSaid, notes);
    }
    return ZeroBiases(folder_, "qweight", notes);
  }

 private:
  std::vector<uint32_t> GroupsOf(MatrixTensors& tensors, size_t group, size_t groups) const;
  std::optional<GptqSettings> SettingsOf(const std::string& name) const;

  ForeignFolder folder_;
  bool first_version_;
  GptqSettings settings_;
  bool orders_;  // desc_act
};

// Those of "dynamic", a map from "+:EXPRESSION" to settings and from "-:EXPRESSION" to none: of a
// module that is left alone none. The map's order, which decides between several that match, is
// not kept by JSON objects here.
std::optional<GptqSettings> GptqCheckpoint::SettingsOf(const std::string& name) const {
  const JsonFields json = folder_.fields();
  if (!json.Has("dynamic")) return settings_;
  std::optional<std::string> matched;
  std::optional<GptqSettings> settings = settings_;
  for (const auto& [key, rule] : json["dynamic"].items()) {
    const bool skips = key.starts_with("-:");
    const bool has_sign = skips || key.starts_with("+:");
    if (!MatchesStart(has_sign ? key.substr(2) : key, name, folder_.settings_where)) continue;
    if (matched) {
      RefuseSetting(folder_, fmt::format("two rules of \"dynamic\" for {}: {} and {}", name,
                                         Quoted(*matched), Quoted(key)));
    }
    matched = key;
    settings = skips ? std::nullopt
                     : std::optional(ReadSettings(
                           {rule, folder_.settings_where + ", dynamic, " + key}, settings_, false));
  }
  return settings;
}

struct GptqTensors {
  const Tensor *codes, *zeros, *scales;
};

int StoredZero(const GptqTensors& tensors, int bits, size_t outputs, size_t row, size_t group) {
  const size_t words = WordsOf(outputs, static_cast<size_t>(bits));
  const uint32_t* const zeros = ElementsOf<uint32_t>(*tensors.zeros).data() + group * words;
  return static_cast<int>(
      BitsAt(zeros, 1, row * static_cast<size_t>(bits), static_cast<size_t>(bits)));
}

// Zeros of the first version that are all ones stand for 0 where the sum wraps, and for 2^bits
// where kernels add after unpacking; converters that add to whole words carry into the zero beside
// it. Nor need all of them have been 0: AutoGPTQ's packer ORs the word -1 of a 0 over all zeros
// behind it in their word, and nothing tells those from others.
void CountWraps(const GptqTensors& tensors, int bits, size_t outputs, size_t groups,
                std::vector<CountedNote>& notes) {
  const int most = (1 << bits) - 1;
  size_t wraps = 0;
  for (size_t g = 0; g < groups; ++g) {
    for (size_t r = 0; r < outputs; ++r) wraps += StoredZero(tensors, bits, outputs, r, g) == most;
  }
  AddNote(notes,
          fmt::format("zero points of GPTQ v1 that wrap: read as 0 here, as {} by kernels that do "
                      "not mask them; AutoGPTQ's packer makes such ones of others beside a 0",
                      most + 1),
          wraps, "groups");
}

// As the first version has them, or the second.
std::function<int(size_t row, size_t group)> ZerosOf(const GptqTensors& tensors, int bits,
                                                     size_t outputs, bool first_version) {
  const int mask = (1 << bits) - 1, added = first_version ? 1 : 0;
  return [=](size_t row, size_t group) {
    return (StoredZero(tensors, bits, outputs, row, group) + added) & mask;
  };
}

AffineSource SourceOf(const GptqTensors& tensors, const WeightScheme& scheme, bool first_version,
                      size_t rows, size_t cols) {
  const size_t bits = static_cast<size_t>(scheme.bits);
  AffineSource source;
  source.tool = first_version ? "gptq v1" : "gptq v2";
  source.rows = rows;
  source.cols = cols;
  source.scheme = scheme;
  source.scales_name = tensors.scales->name;
  source.fp16_scales = tensors.scales->dtype == DType::kF16;
  source.codes = [tensors, rows, bits](size_t row, std::span<uint8_t> codes) {
    const uint32_t* const words = ElementsOf<uint32_t>(*tensors.codes).data() + row;
    for (size_t i = 0; i < codes.size(); ++i)
      codes[i] = static_cast<uint8_t>(BitsAt(words, rows, i * bits, bits));
  };
  source.scale = [tensors, rows](size_t row, size_t group) {
    return NumberAt(*tensors.scales, group * rows + row);
  };
  source.zero = ZerosOf(tensors, scheme.bits, rows, first_version);
  return source;
}

// Files say the wrong version, or none, and their zeros are then one off.
OtherReading OtherVersion(AffineSource source, const GptqTensors& tensors, bool first_version) {
  source.zero = ZerosOf(tensors, source.scheme.bits, source.rows, !first_version);
  return {fmt::format("checkpoint_format {}", first_version ? "gptq_v2" : "gptq"),
          [source = std::move(source)] { return AffineRows(source); }};
}

// The group of each input; empty where they follow one another.
std::vector<uint32_t> GptqCheckpoint::GroupsOf(MatrixTensors& tensors, size_t group,
                                               size_t groups) const {
  constexpr char kPart[] = "g_idx";
  if (tensors.Find(kPart) != nullptr) {
    const Tensor& index = tensors.Take(kPart, {DType::kI32}, {tensors.cols()});
    return ReadGroupIndex(tensors, index, kPart, group, groups);
  }
  // Counts of groups cannot tell a wrong size or another order from what was meant.
  if (groups > 1 && orders_)
    tensors.Fail(kPart, "the group of each input, as desc_act is true", "none");
  if (groups > 1 && tensors.cols() % group != 0) {
    tensors.Fail(kPart,
                 fmt::format("the group of each input, as groups of {} do not fill {}", group,
                             tensors.cols()),
                 "none");
  }
  return {};
}

std::optional<ForeignMatrix> GptqCheckpoint::Find(const std::string& name, size_t rows,
                                                  size_t cols) const {
  MatrixTensors tensors(folder_, name, rows, cols);
  if (tensors.Find("qweight") == nullptr && tensors.IsPlain()) return std::nullopt;
  const std::optional<GptqSettings> settings = SettingsOf(name);
  if (!settings) tensors.Fail("qweight", "none, by a rule of \"dynamic\"", "one");
  const size_t bits = static_cast<size_t>(settings->bits), group = settings->group.value_or(cols);
  const size_t groups = (cols + group - 1) / group;
  if (cols * bits % 32 != 0 || rows * bits % 32 != 0) {
    tensors.Fail("qweight", fmt::format("inputs and outputs that fill words with {} bits", bits),
                 fmt::format("{} and {}", cols, rows));
  }
  const GptqTensors found = {&tensors.Take("qweight", {DType::kI32}, {WordsOf(cols, bits), rows}),
                             &tensors.Take("qzeros", {DType::kI32}, {groups, WordsOf(rows, bits)}),
                             &tensors.Take("scales", kFloatTypes, {groups, rows})};
  AffineSource source = SourceOf(
      found, IntScheme(name, settings->bits, settings->group, settings->symmetric, folder_, true),
      first_version_, rows, cols);
  source.group_of = GroupsOf(tensors, group, groups);
  source.stored = tensors.stored();
  ForeignMatrix matrix;
  matrix.type = SchemeName(source.scheme);
  matrix.codes = source.scheme;
  matrix.tensors = tensors.names();
  matrix.other = OtherVersion(source, found, first_version_);
  const bool untold = !source.group_of.empty() && !orders_;
  matrix.read = [source = std::move(source), found, groups, untold, first = first_version_,
                 where = folder_.where](std::vector<CountedNote>& notes) {
    if (first) CountWraps(found, source.scheme.bits, source.rows, groups, notes);
    AddNote(notes,
            "groups as g_idx has them, although desc_act is false: kernels that then pass it by "
            "read other numbers",
            untold ? 1 : 0, "matrices");
    return ReadAffine(source, where, notes);
  };
  return matrix;
}

}  // namespace

std::shared_ptr<const ForeignCheckpoint> OpenGptq(ForeignFolder folder) {
  return std::make_shared<const GptqCheckpoint>(std::move(folder));
}

}  // namespace quantref
