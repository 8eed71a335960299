#include "harness/export/model_folder.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "harness/base/error.h"
#include "harness/export/model_tensors.h"
#include "harness/export/packed_codes.h"
#include "harness/io/file.h"
#include "harness/io/json_file.h"
#include "harness/quant/format.h"
#include "harness/tokenizer/tokenizer.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr size_t kMaxCopiedBytes = size_t{256} << 20;

// What else a model folder has for who generates text with it.
constexpr const char* kBeside[] = {"generation_config.json", "chat_template.jinja",
                                   "chat_template.json", "preprocessor_config.json",
                                   "processor_config.json"};

void CopyBeside(const fs::path& model, const fs::path& folder) {
  std::vector<fs::path> files = TokenizerFilesIn(model);
  for (const char* name : kBeside) {
    if (IsPresent(model / name)) files.push_back(model / name);
  }
  for (const fs::path& file : files)
    WriteFileAtomically(folder / file.filename(), ReadFile(file, kMaxCopiedBytes), false);
}

// A flag of the matrices that are of such a scheme: nothing where there are none, the names of
// those of which it is true where they differ.
class FlagOfMatrices {
 public:
  void Add(const std::string& name, bool flag) {
    ++count_;
    if (flag) names_.push_back(name);
  }
  void Put(const char* key, Json& json) const {
    if (count_ == 0) return;
    const bool alike = names_.empty() || names_.size() == count_;
    json[key] = alike ? Json(!names_.empty()) : Json(names_);
  }

 private:
  size_t count_ = 0;
  std::vector<std::string> names_;
};

Json OriginOf(const FinishedCell& cell) {
  Json origin = {{"config", cell.origin.config},
                 {"cell", cell.origin.cell},
                 {"model", cell.origin.model},
                 {"weights_sha256", cell.origin.weights_sha256}};
  FlagOfMatrices full_range, zero_in_range;
  ForQuantized(cell, [&](const Linear& linear, const std::string& name) {
    const WeightScheme& scheme = SchemeOfWeight(linear.weight);
    if (!scheme.format->affine()) return;
    scheme.symmetric ? full_range.Add(name, scheme.full_range)
                     : zero_in_range.Add(name, scheme.zero_in_range);
  });
  full_range.Put("full_range", origin);
  zero_in_range.Put("zero_in_range", origin);
  return origin;
}

// What loaders are to hold the numbers in that are not quantized: as most of them are.
std::string DtypeOfTheRest(const FinishedCell& cell) {
  const std::optional<DenseRows> dense = cell.weights.embedding.weight.dense();
  if (!dense || dense->type == DenseRows::Type::kFp32) return "float32";
  return dense->type == DenseRows::Type::kBf16 ? "bfloat16" : "float16";
}

}  // namespace

void WriteModelFolder(const FinishedCell& cell, const fs::path& folder,
                      std::vector<TensorToWrite> tensors, const Json& quantization,
                      const std::string& dtype) {
  Json config = ReadJsonFile(cell.model / "config.json");
  config.erase("quantization_config");
  const bool was_tied = ConfigFromJson(config, cell.model.string()).tied_head;
  if (!quantization.is_null()) config["quantization_config"] = quantization;
  if (was_tied != cell.config.tied_head) config["tie_word_embeddings"] = cell.config.tied_head;
  config[config.contains("dtype") ? "dtype" : "torch_dtype"] =
      dtype.empty() ? DtypeOfTheRest(cell) : dtype;
  config["quantref"] = OriginOf(cell);
  CopyBeside(cell.model, folder);
  WriteSafetensors(folder / "model.safetensors", std::move(tensors), {{"format", "pt"}});
  WriteFileAtomically(folder / "config.json", config.dump(2) + "\n", false);
}

}  // namespace quantref
