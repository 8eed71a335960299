#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "eval/run/candidate.h"
#include "eval/run/candidate_errors.h"
#include "eval/run/group_cell.h"
#include "eval/run/weight_distance.h"
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

struct ChangedNorms {
  size_t of_blocks = 0, at_the_end = 0;

  size_t all() const { return of_blocks + at_the_end; }
};

ChangedNorms CountChangedNorms(const ModelWeights& own, const ModelWeights& reference) {
  ChangedNorms changed;
  for (size_t layer = 0; layer < own.blocks.size(); ++layer) {
    const BlockWeights &a = own.blocks[layer], &b = reference.blocks[layer];
    for (size_t i = 0; i < kNorms; ++i) {
      changed.of_blocks += !AreAlike(a.norms[i], b.norms[i]);
      changed.of_blocks += !AreAlike(a.norm_biases[i], b.norm_biases[i]);
    }
  }
  changed.at_the_end += !AreAlike(own.final_norm, reference.final_norm);
  changed.at_the_end += !AreAlike(own.final_norm_bias, reference.final_norm_bias);
  return changed;
}

// By name; the head too where it is tied.
std::map<std::string, const Weight*> WeightsByName(const ModelWeights& weights) {
  std::map<std::string, const Weight*> named;
  for (const Linear* linear : AllLinears(weights)) named[linear->name] = &linear->weight;
  named[kHeadName] = &weights.head.weight;
  return named;
}

// How a matrix stands to the reference's.
struct Comparison {
  Nearness nearness = Nearness::kRounded;
  std::optional<SquaresOf> sums{};  // none: scales may have been folded into it
  size_t lost_groups = 0;

  bool HasError() const {
    return nearness != Nearness::kUnrelated && nearness != Nearness::kFolded;
  }
};

Comparison Compare(const Weight& own, const Weight& reference, const StoredCodes& codes,
                   bool may_be_scaled) {
  Comparison found;
  if (!std::holds_alternative<std::monostate>(codes))
    found.lost_groups = CountLostGroups(own, reference, codes);
  if (may_be_scaled) {
    if (UnrelatedUpToInputs(own, reference)) found.nearness = Nearness::kUnrelated;
    return found;
  }
  found.sums = SquaresBetween(own, reference, own.rows());
  found.nearness = JudgeNearness(*found.sums, RoundingOf(own, codes), own, reference);
  return found;
}

// Methods that fold scales into norms fold others between matrices: AWQ's made down_proj shorter by
// 12 to 45 %, with factors that differ by less than rounding to 4 bits does. So a block where any
// norm is another compares up to a factor an input alone.
bool MayBeScaled(const MatrixFacts& matrix, const ChangedNorms& changed) {
  return (matrix.IsOfBlock() && changed.of_blocks > 0) ||
         (matrix.name == kHeadName && changed.at_the_end > 0);
}

// Rotations of the channels between blocks, which take the norms' gains with them.
bool IsTurned(const ModelWeights& own, const ModelWeights& reference, const ChangedNorms& changed) {
  return changed.all() > 0 && UnrelatedUpToInputs(own.embedding.weight, reference.embedding.weight);
}

// Adds a note of the matrices that are so near, with the most that their squared error is.
void NoteNearness(const std::vector<Comparison>& all, Nearness which, NoteGrade grade,
                  std::string what, std::vector<CountedNote>& notes) {
  size_t count = 0;
  std::optional<double> most;
  for (const Comparison& one : all) {
    if (one.nearness != which) continue;
    if (one.sums) most = std::max(most.value_or(0), one.sums->Relative());
    ++count;
  }
  if (count == 0) return;
  if (most) what += fmt::format(" (squared error up to {:.2g} of the reference's squares)", *most);
  AddNotes({{what, count, "matrices", grade}}, notes);
}

void NoteComparisons(const std::vector<Comparison>& all, std::vector<CountedNote>& notes) {
  const auto note = [&](Nearness which, NoteGrade grade, const char* what) {
    NoteNearness(all, which, grade, what, notes);
  };
  note(
      Nearness::kUnrelated, NoteGrade::kDoubt,
      "hardly correlated with the reference's: no roundings of these, or read by settings that are "
      "not theirs, and no error is given");
  note(Nearness::kScaled, NoteGrade::kDoubt,
       "longer or shorter than roundings of the reference's are: scales that are not theirs");
  note(Nearness::kFar, NoteGrade::kDoubt,
       "further from the reference's than rounding to their codes leaves them: no roundings of "
       "these, or read by settings or in an order that are not theirs");
  note(Nearness::kFolded, NoteGrade::kTold,
       "the reference's but for a factor of each input or output, as methods fold between "
       "matrices, and no error is given");
  note(Nearness::kTuned, NoteGrade::kTold,
       "near the reference's, but no roundings of these to their codes: trained on, or rounded "
       "twice");
  note(Nearness::kCoarse, NoteGrade::kTold,
       "further from the reference's than zeros are, as codes of 2 bits may be");
}

// A group may be 0 because the reference's is.
void NoteLostGroups(const std::vector<Comparison>& all, std::vector<CountedNote>& notes) {
  const auto zero = std::ranges::find(notes, kScaleOfZero, &CountedNote::what);
  if (zero == notes.end()) return;
  size_t lost = 0;
  for (const Comparison& one : all) lost += one.lost_groups;
  if (lost == 0) return;
  AddNotes({{"0 by a scale of 0 where the reference's are not: a part that was never written, or "
             "tensors that are read as others",
             std::min(lost, zero->count), "groups", NoteGrade::kDoubt}},
           notes);
}

void NoteRecast(const std::vector<MatrixFacts>& found, const std::vector<Comparison>& all,
                std::vector<CountedNote>& notes) {
  // Of a folder of nothing else it is what it is for.
  if (std::ranges::none_of(found, &MatrixFacts::coded)) return;
  size_t recast = 0;
  for (size_t i = 0; i < found.size(); ++i)
    recast += !found[i].coded && all[i].sums && all[i].sums->differences > 0;
  if (recast == 0) return;
  AddNotes({{"kept beside the codes with other numbers than the reference's, as by another type",
             recast, "matrices"}},
           notes);
}

void CompareMatrices(const GroupContext& group, const ChangedNorms& changed, Candidate& candidate) {
  const std::vector<MatrixFacts>& found = candidate.stored.found;
  candidate.weight_errors.assign(found.size(), std::nullopt);
  if (IsTurned(candidate.model.weights, group.model->weights, changed)) return;
  const auto own = WeightsByName(candidate.model.weights);
  const auto reference = WeightsByName(group.model->weights);
  std::vector<Comparison> all(found.size());
  ParallelFor(found.size(), group.threads, [&](size_t i, size_t) {
    const std::string& name = found[i].name;
    all[i] =
        Compare(*own.at(name), *reference.at(name), found[i].codes, MayBeScaled(found[i], changed));
    if (changed.all() == 0 && all[i].HasError())
      candidate.weight_errors[i] = all[i].sums->differences / found[i].Weights();
  });
  NoteComparisons(all, candidate.stored.notes);
  NoteLostGroups(all, candidate.stored.notes);
  NoteRecast(found, all, candidate.stored.notes);
}

constexpr size_t kJudgedRows = 64;

// Where a setting that the file may have wrong would have brought matrices nearer. Zero points that
// are one off add the square of a step to the error of a weight, and what rounding leaves is well
// below that: the wrong reading is off by more than twice as much. The first rows show it, and
// scales that were folded into norms do not hide it.
void NoteMisread(const GroupContext& group, Candidate& candidate) {
  const auto own = WeightsByName(candidate.model.weights);
  const auto reference = WeightsByName(group.model->weights);
  const std::vector<MatrixFacts>& found = candidate.stored.found;
  std::vector<SquaresOf> as_read(found.size()), otherwise(found.size());
  ParallelFor(found.size(), group.threads, [&](size_t i, size_t) {
    if (!found[i].other) return;
    const Weight &weight = *own.at(found[i].name), &original = *reference.at(found[i].name);
    const size_t rows = std::min(kJudgedRows, weight.rows());
    as_read[i] = SquaresUpTo(Channels::kInputs, weight, original, rows);
    otherwise[i] = SquaresUpTo(Channels::kInputs, found[i].other->read(), original, rows);
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
                         sum_otherwise.Relative(), kJudgedRows),
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
  const ChangedNorms changed = CountChangedNorms(loaded.model.weights, group.model->weights);
  loaded.changed_norms = changed.all();
  CompareMatrices(group, changed, loaded);
  NoteMisread(group, loaded);
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
