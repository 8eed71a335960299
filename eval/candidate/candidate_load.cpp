#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "eval/candidate/candidate.h"
#include "eval/candidate/candidate_compare.h"
#include "eval/candidate/candidate_errors.h"
#include "eval/inputs/group_cell.h"
#include "harness/base/error.h"
#include "harness/base/parallel.h"
#include "harness/model/gguf_promise.h"
#include "harness/quant/ggml_scales.h"
#include "harness/quant/grid.h"

// What a candidate's weights are.

namespace quantref {
namespace {

// The first number in "int4 g128 asym", "nf4 g64"; 0: there is none.
int BitsInName(const std::string& type) {
  const auto digit =
      std::find_if(type.begin(), type.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
  return digit == type.end() ? 0 : std::atoi(&*digit);
}

void NoteForeignPromise(const MatrixSources& stored, std::vector<CountedNote>& notes) {
  const std::optional<int> bits =
      stored.foreign == nullptr ? std::nullopt : stored.foreign->promised_bits();
  if (!bits) return;
  const auto others = std::count_if(
      stored.found.begin(), stored.found.end(),
      [&](const MatrixFacts& matrix) { return matrix.coded && BitsInName(matrix.type) != *bits; });
  if (others == 0) return;
  AddNotes({{fmt::format("of other codes than the {} bits that {} promises", *bits,
                         stored.foreign->format()),
             static_cast<size_t>(others), "matrices"}},
           notes);
}

void NoteGgufPromise(const Candidate& candidate, std::vector<CountedNote>& notes) {
  const GgufFile* file = candidate.model.weights.checkpoint->gguf();
  if (file == nullptr) return;
  const auto of_key = PromiseOfKey(*file);
  const auto of_name = PromiseOfName(file->path().filename().string());
  if (of_key && of_name && of_key->type != of_name->type) {
    AddNotes(
        {{fmt::format("its name says {}, its general.file_type {}", of_name->name, of_key->name), 1,
          ""}},
        notes);
  }
  const auto& promise = of_name ? of_name : of_key;
  if (!promise) return;
  const std::vector<MatrixFacts>& found = candidate.stored.found;
  // Mixes keep the embedding and the head as they please; that they are plain is told elsewhere.
  const auto others = std::count_if(found.begin(), found.end(), [&](const MatrixFacts& matrix) {
    return matrix.type != promise->type && (matrix.coded || matrix.IsOfBlock());
  });
  if (others == 0) return;
  AddNotes({{fmt::format("of another type than {}, which {} is named after", promise->type,
                         promise->name),
             static_cast<size_t>(others), "matrices"}},
           notes);
}

// Of the checkpoint's own blocks.
GgmlScales BlockScales(const Checkpoint& checkpoint) {
  GgmlScales all;
  for (const std::string& name : checkpoint.names()) {
    const Tensor& tensor = checkpoint.Get(name);
    if (tensor.dtype != DType::kBlocks) continue;
    const GgmlScales own = CountScales(tensor.blocks, {tensor.data, tensor.bytes});
    all.zero += own.zero;
    all.negative += own.negative;
  }
  return all;
}

// Of packed matrices and of blocks; what is not finite makes weights that no reader takes.
void NoteScales(const ModelWeights& weights, std::vector<CountedNote>& notes) {
  auto [zero, negative] = BlockScales(*weights.checkpoint);
  for (const Linear* linear : AllLinears(weights)) {
    const PackedMatrix* packed = linear->weight.packed();
    if (packed == nullptr) continue;
    for (size_t r = 0; r < packed->scale_rows(); ++r) {
      for (size_t c = 0; c < packed->scale_cols(); ++c) {
        const float scale = packed->grid(r, c).scale();
        zero += scale == 0;
        negative += scale < 0;
      }
    }
  }
  AddScaleNotes(zero, negative, notes);
}

// The codes that are multiplied in the kernels' layout; as quantized models have them.
ModelWeights ForKernels(ModelWeights weights, size_t threads) {
  const bool tied = HeadIsTied(weights);
  const std::vector<Linear*> linears = AllLinears(weights);
  ParallelFor(linears.size(), threads, [&](size_t i, size_t) {
    if (i > 0 || tied) linears[i]->weight = linears[i]->weight.WithKernels();
  });
  if (tied) weights.head.weight = weights.embedding.weight;
  return weights;
}

void CheckRoundsHead(const Candidate& candidate) {
  const auto& activations = candidate.model.weights.head.activations;
  if (!activations || !activations->outliers) return;
  throw Error(
      "its head reads inputs beside outlier channels, which are found in whole windows, and "
      "a head reads them in parts",
      candidate.model.dir.string(), "quantize it with a head that is kept");
}

// Its weights, looked at by themselves and beside the reference's.
void ReadCandidate(GroupContext& group, Candidate& loaded) {
  ReadModel(loaded.model, WeightType::kNative, group.threads, &loaded.stored.notes);
  const std::vector<InputFile> files = loaded.model.files();
  group.candidate_files.insert(group.candidate_files.end(), files.begin(), files.end());
  CheckRoundsHead(loaded);
  std::vector<CountedNote>& notes = loaded.stored.notes;
  NoteForeignPromise(loaded.stored, notes);
  NoteGgufPromise(loaded, notes);
  NoteScales(loaded.model.weights, notes);
  CompareWithReference(*group.model, group.threads, loaded);
}

}  // namespace

void LoadCandidate(GroupContext& group, GroupCell& cell) {
  auto loaded = std::make_shared<Candidate>(*cell.candidate);
  NamingCandidate(cell.label, [&] { ReadCandidate(group, *loaded); });
  if (cell.config->path.kernels)
    loaded->model.weights = ForKernels(std::move(loaded->model.weights), group.threads);
  cell.quantized.weights = loaded->model.weights;
  // Beside codes what is plain counts where it is not the reference's, as a method's cell has it.
  cell.weights_sha256 = HashQuantized(
      cell.quantized.weights, loaded->stored.HoldsCodes() ? &group.model->weights : nullptr);
  cell.candidate = std::move(loaded);
}

}  // namespace quantref
