#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <map>
#include <span>
#include <string>

#include "eval/run/candidate.h"
#include "eval/run/candidate_errors.h"
#include "eval/run/group_cell.h"
#include "harness/base/cancel.h"
#include "harness/base/error.h"
#include "harness/base/parallel.h"
#include "harness/model/gguf_promise.h"
#include "harness/model/layout.h"
#include "harness/quant/ggml_scales.h"
#include "harness/quant/grid.h"

// What a candidate's weights are, and what they are beside the reference's.

namespace quantref {
namespace {

// BF16 has eight bits: no more than this is rounding of what another type holds.
bool AreAlike(std::span<const float> own, std::span<const float> reference) {
  constexpr float kRounding = 0x1p-8F, kLeast = 1e-6F;
  return std::equal(
      own.begin(), own.end(), reference.begin(), reference.end(),
      [](float a, float b) { return std::fabs(a - b) <= kRounding * std::fabs(b) + kLeast; });
}

size_t CountChangedNorms(const ModelWeights& own, const ModelWeights& reference) {
  size_t changed = 0;
  for (size_t layer = 0; layer < own.blocks.size(); ++layer) {
    const BlockWeights &a = own.blocks[layer], &b = reference.blocks[layer];
    for (size_t i = 0; i < kNorms; ++i) {
      changed += !AreAlike(a.norms[i], b.norms[i]);
      changed += !AreAlike(a.norm_biases[i], b.norm_biases[i]);
    }
  }
  changed += !AreAlike(own.final_norm, reference.final_norm);
  return changed + !AreAlike(own.final_norm_bias, reference.final_norm_bias);
}

constexpr size_t kRowsAtOnce = 64;

struct SquaresOf {
  double differences = 0, reference = 0;

  double Relative() const { return differences / reference; }
  void operator+=(const SquaresOf& more) {
    differences += more.differences;
    reference += more.reference;
  }
};
// Of so many rows, the first ones.
SquaresOf CompareWeights(const Weight& own, const Weight& reference, size_t rows) {
  Matrix<float> a(kRowsAtOnce, own.cols()), b(kRowsAtOnce, own.cols());
  SquaresOf sums;
  for (size_t first = 0; first < rows; first += kRowsAtOnce) {
    ThrowIfCancelled();
    const size_t count = std::min(kRowsAtOnce, rows - first);
    own.DecodeRows(first, a.view().Rows(0, count));
    reference.DecodeRows(first, b.view().Rows(0, count));
    for (size_t i = 0; i < count * own.cols(); ++i) {
      const double x = b.data()[i], d = static_cast<double>(a.data()[i]) - x;
      sums.differences += d * d;
      sums.reference += x * x;
    }
  }
  return sums;
}

// By name; the head too where it is tied.
std::map<std::string, const Weight*> WeightsByName(const ModelWeights& weights) {
  std::map<std::string, const Weight*> named;
  for (const Linear* linear : AllLinears(weights)) named[linear->name] = &linear->weight;
  named[kHeadName] = &weights.head.weight;
  return named;
}

// Of all weights, the squares of the steps between their codes; infinite where these are not even.
double SquaresOfSteps(const Weight& weight) {
  const PackedMatrix* const packed = weight.packed();
  if (packed == nullptr || !packed->scheme().format->affine()) return HUGE_VAL;
  double sum = 0;
  for (size_t r = 0; r < packed->scale_rows(); ++r) {
    for (size_t c = 0; c < packed->scale_cols(); ++c) {
      const double step = packed->affine(r, c).scale;
      sum += step * step;
    }
  }
  const auto scales = static_cast<double>(packed->scale_rows() * packed->scale_cols());
  return sum / scales * static_cast<double>(weight.rows()) * static_cast<double>(weight.cols());
}

// What is further from the reference's matrix than one of zeros is no rounding of it. Nor does one
// leave as much as a step: the squares are a twelfth of its square, and somewhat more where later
// weights make up for the errors of earlier ones.
void CompareMatrices(const GroupContext& group, Candidate& candidate) {
  const auto own = WeightsByName(candidate.model.weights);
  const auto reference = WeightsByName(group.model->weights);
  const std::vector<MatrixFacts>& found = candidate.stored.found;
  candidate.weight_errors.assign(found.size(), std::nullopt);
  std::vector<char> other(found.size(), 0), far(found.size(), 0), recast(found.size(), 0);
  ParallelFor(found.size(), group.threads, [&](size_t i, size_t) {
    const Weight& weight = *own.at(found[i].name);
    const SquaresOf sums = CompareWeights(weight, *reference.at(found[i].name), weight.rows());
    other[i] = sums.differences > sums.reference;
    far[i] = other[i] == 0 && sums.differences > SquaresOfSteps(weight);
    recast[i] = !found[i].coded && sums.differences > 0;
    if (other[i] == 0) candidate.weight_errors[i] = sums.differences / found[i].Weights();
  });
  const auto note = [&](const std::vector<char>& which, NoteGrade grade, const char* what) {
    const auto count = static_cast<size_t>(std::count(which.begin(), which.end(), 1));
    if (count > 0) AddNotes({{what, count, "matrices", grade}}, candidate.stored.notes);
  };
  note(other, NoteGrade::kDoubt, "no roundings of the reference's, so that no error is given");
  note(far, NoteGrade::kDoubt,
       "further from the reference's than a step of their scales: no roundings to these, or read "
       "by settings or in an order that are not theirs");
  // Of a folder of nothing else it is what it is for.
  if (std::ranges::any_of(found, &MatrixFacts::coded))
    note(recast, NoteGrade::kTold,
         "kept beside the codes with other numbers than the reference's, as by another type");
}

// Where a setting that the file may have wrong would have brought matrices nearer. Zero points that
// are one off add the square of a step to the error of a weight, and what rounding leaves is well
// below that: the wrong reading is off by more than twice as much. The first rows show it.
void NoteMisread(const GroupContext& group, Candidate& candidate) {
  const auto own = WeightsByName(candidate.model.weights);
  const auto reference = WeightsByName(group.model->weights);
  const std::vector<MatrixFacts>& found = candidate.stored.found;
  std::vector<SquaresOf> as_read(found.size()), otherwise(found.size());
  ParallelFor(found.size(), group.threads, [&](size_t i, size_t) {
    if (!found[i].other) return;
    const Weight &weight = *own.at(found[i].name), &original = *reference.at(found[i].name);
    const size_t rows = std::min(kRowsAtOnce, weight.rows());
    as_read[i] = CompareWeights(weight, original, rows);
    otherwise[i] = CompareWeights(found[i].other->read(), original, rows);
  });
  SquaresOf sum_as_read, sum_otherwise;
  std::string setting;
  size_t count = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    if (2 * otherwise[i].differences >= as_read[i].differences) continue;
    sum_as_read += as_read[i];
    sum_otherwise += otherwise[i];
    setting = found[i].other->setting;
    ++count;
  }
  if (count == 0) return;
  AddNotes({{fmt::format("probably MISREAD: as {} their relative squared error is {:.2g}, with {} "
                         "it would be {:.2g} (first {} rows)",
                         candidate.stored.foreign->format(), sum_as_read.Relative(), setting,
                         sum_otherwise.Relative(), kRowsAtOnce),
             count, "matrices", NoteGrade::kDoubt}},
           candidate.stored.notes);
}

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
  loaded.changed_norms = CountChangedNorms(loaded.model.weights, group.model->weights);
  if (loaded.changed_norms == 0) {
    CompareMatrices(group, loaded);
    NoteMisread(group, loaded);
  } else {
    loaded.weight_errors.assign(loaded.stored.found.size(), std::nullopt);
  }
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
