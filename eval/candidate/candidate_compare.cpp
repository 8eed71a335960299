#include "eval/candidate/candidate_compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "eval/anatomy/weight_distance.h"
#include "harness/base/parallel.h"
#include "harness/model/layout.h"

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
struct MatrixComparison {
  Nearness nearness = Nearness::kRounded;
  std::optional<SquaresOf> sums{};  // none: scales may have been folded into it
  size_t lost_groups = 0;

  bool HasError() const {
    return nearness != Nearness::kUnrelated && nearness != Nearness::kFolded;
  }
};

MatrixComparison Compare(const Weight& own, const Weight& reference, const StoredCodes& codes,
                         bool may_be_scaled) {
  MatrixComparison found;
  if (!std::holds_alternative<std::monostate>(codes))
    found.lost_groups = CountLostGroups(own, reference, codes);
  if (may_be_scaled) {
    if (UnrelatedUpToInputs(own, reference)) found.nearness = Nearness::kUnrelated;
    return found;
  }
  found.sums = SquaresBetween(own, reference, own.rows());
  found.nearness = JudgeNearness(*found.sums, RoundingOf(own, codes));
  return found;
}

// Methods that fold scales into norms fold others between matrices: AWQ's made down_proj shorter by
// 12 to 45 %, with factors that differ by less than rounding to 4 bits does. So a block where any
// norm is another compares up to a factor an input alone.
bool MayBeScaled(const MatrixFacts& matrix, const ChangedNorms& changed) {
  return (matrix.IsOfBlock() && changed.of_blocks > 0) ||
         (matrix.name == kHeadName && changed.at_the_end > 0);
}

// Input c of `to` is output outputs[c] of `from`, which are both of block `layer`.
struct Fold {
  LinearIndex from, to;
  std::vector<size_t> outputs;
};

// A rotation does not pass a norm whose gains differ; another order of the channels would.
void NoteTurned(Candidate& candidate) {
  const auto same = [](const std::vector<float>& gains) {
    return AreAlike(gains, std::vector<float>(gains.size(), gains.empty() ? 0 : gains.front()));
  };
  const ModelWeights& weights = candidate.model.weights;
  bool can_be = same(weights.final_norm);
  for (const BlockWeights& block : weights.blocks) {
    can_be = can_be && same(block.norms[kAttentionNorm]) && same(block.norms[kMlpNorm]);
  }
  const char* const what =
      can_be ? "the reference's channels in another basis, as rotations leave them: no matrix is "
               "compared"
             : "its embedding is the reference's in another basis, which norms whose gains differ "
               "allow for reordered or negated channels alone: no matrix is compared";
  AddNotes({{what, 1, "", can_be ? NoteGrade::kTold : NoteGrade::kDoubt}}, candidate.stored.notes);
}

// What a block's channels can be scaled between; norms are compared by themselves. Heads share
// values as they do keys.
std::vector<Fold> FoldsOf(const ModelConfig& config, size_t layer) {
  std::vector<Fold> folds;
  const LinearRows values = ValueRows(config);
  Fold heads{values.linear, kO, {}};
  for (size_t c = 0; c < config.heads * config.head_dim; ++c) {
    const size_t shared = c / config.head_dim * config.kv_heads / config.heads;
    heads.outputs.push_back(values.first + shared * config.head_dim + c % config.head_dim);
  }
  folds.push_back(std::move(heads));
  for (const ScalingGroup& group : LayoutOf(config, layer).ScalingGroups()) {
    const auto* rows = std::get_if<LinearRows>(&group.producer);
    if (rows == nullptr || group.consumers != std::vector<LinearIndex>{kDown}) continue;
    Fold hidden{rows->linear, kDown, std::vector<size_t>(config.intermediate)};
    std::iota(hidden.outputs.begin(), hidden.outputs.end(), rows->first);
    folds.push_back(std::move(hidden));
  }
  return folds;
}

bool IsOff(const MatrixComparison& one) {
  return one.nearness == Nearness::kScaled || one.nearness == Nearness::kFar;
}

// What looks like other numbers and is the reference's, but for factors that its partner undoes.
void FindFolds(const Model& original, const Candidate& candidate,
               std::vector<MatrixComparison>& all) {
  std::map<std::string, size_t> positions;
  for (size_t i = 0; i < candidate.stored.found.size(); ++i)
    positions[candidate.stored.found[i].name] = i;
  for (size_t layer = 0; layer < original.weights.blocks.size(); ++layer) {
    const auto& own = candidate.model.weights.blocks[layer].linears;
    const auto& reference = original.weights.blocks[layer].linears;
    const auto compared = [&](LinearIndex index) {
      const StoredCodes& codes = candidate.stored.found[positions.at(own[index].name)].codes;
      return ComparedMatrix{&own[index].weight, &reference[index].weight,
                            RoundingOf(own[index].weight, codes)};
    };
    for (const Fold& fold : FoldsOf(original.config, layer)) {
      MatrixComparison &from = all[positions.at(own[fold.from].name)],
                       &to = all[positions.at(own[fold.to].name)];
      if ((!IsOff(from) && !IsOff(to)) || !from.sums || !to.sums ||
          !FoldsBetween(compared(fold.from), compared(fold.to), fold.outputs))
        continue;
      for (MatrixComparison* one : {&from, &to})
        if (IsOff(*one)) one->nearness = Nearness::kFolded;
    }
  }
}

// Adds a note of the matrices that are so near, with the most that their squared error is.
void NoteNearness(const std::vector<MatrixComparison>& all, Nearness which, NoteGrade grade,
                  std::string what, std::vector<CountedNote>& notes) {
  size_t count = 0;
  std::optional<double> most;
  for (const MatrixComparison& one : all) {
    if (one.nearness != which) continue;
    if (one.sums) most = std::max(most.value_or(0), one.sums->Relative());
    ++count;
  }
  if (count == 0) return;
  if (most) what += fmt::format(" (squared error up to {:.2g} of the reference's squares)", *most);
  AddNotes({{what, count, "matrices", grade}}, notes);
}

void NoteComparisons(const std::vector<MatrixComparison>& all, std::vector<CountedNote>& notes) {
  const auto note = [&](Nearness which, NoteGrade grade, const char* what) {
    NoteNearness(all, which, grade, what, notes);
  };
  note(Nearness::kUnrelated, NoteGrade::kDoubt,
       "hardly correlated with the reference's: no roundings of these, turned, or read by settings "
       "that are not theirs, and no error is recorded");
  note(Nearness::kScaled, NoteGrade::kDoubt,
       "longer or shorter than roundings of the reference's are: scales that are not theirs");
  note(Nearness::kFar, NoteGrade::kDoubt,
       "further from the reference's than rounding to their codes leaves them: no roundings of "
       "these, or read by settings or in an order that are not theirs");
  note(Nearness::kFolded, NoteGrade::kTold,
       "the reference's but for factors that another matrix undoes, as methods fold between "
       "matrices, and no error is recorded");
  note(Nearness::kTuned, NoteGrade::kTold,
       "near the reference's, but no roundings of these to their codes: trained on, or rounded "
       "twice");
  note(Nearness::kCoarse, NoteGrade::kTold,
       "further from the reference's than zeros are, as codes of 2 bits may be");
}

// A group may be 0 because the reference's is.
void NoteLostGroups(const std::vector<MatrixComparison>& all, std::vector<CountedNote>& notes) {
  const auto zero = std::ranges::find(notes, kScaleOfZero, &CountedNote::what);
  if (zero == notes.end()) return;
  size_t lost = 0;
  for (const MatrixComparison& one : all) lost += one.lost_groups;
  if (lost == 0) return;
  AddNotes({{"0 by a scale of 0 where the reference's are not: a part that was never written, or "
             "tensors that are read as others",
             std::min(lost, zero->count), "groups", NoteGrade::kDoubt}},
           notes);
}

void NoteRecast(const std::vector<MatrixFacts>& found, const std::vector<MatrixComparison>& all,
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

// Methods that fold shifts or correct the mean of what rounding leaves change them.
void NoteBiases(const ModelWeights& own, const ModelWeights& reference,
                std::vector<CountedNote>& notes) {
  size_t changed = 0;
  for (size_t layer = 0; layer < own.blocks.size(); ++layer) {
    for (size_t i = 0; i < kLinears; ++i) {
      changed +=
          !AreAlike(own.blocks[layer].linears[i].bias, reference.blocks[layer].linears[i].bias);
    }
  }
  if (changed > 0)
    AddNotes({{"with another bias than the reference's", changed, "matrices"}}, notes);
}

void CompareMatrices(const Model& original, size_t threads, const ChangedNorms& changed,
                     Candidate& candidate) {
  const std::vector<MatrixFacts>& found = candidate.stored.found;
  candidate.weight_errors.assign(found.size(), std::nullopt);
  if (IsTurned(candidate.model.weights.embedding.weight, original.weights.embedding.weight)) {
    NoteTurned(candidate);
    return;
  }
  const auto own = WeightsByName(candidate.model.weights);
  const auto reference = WeightsByName(original.weights);
  std::vector<MatrixComparison> all(found.size());
  ParallelFor(found.size(), threads, [&](size_t i, size_t) {
    const std::string& name = found[i].name;
    all[i] =
        Compare(*own.at(name), *reference.at(name), found[i].codes, MayBeScaled(found[i], changed));
  });
  FindFolds(original, candidate, all);
  for (size_t i = 0; i < found.size(); ++i) {
    if (changed.all() == 0 && all[i].HasError())
      candidate.weight_errors[i] = all[i].sums->differences / found[i].Weights();
  }
  NoteComparisons(all, candidate.stored.notes);
  NoteBiases(candidate.model.weights, original.weights, candidate.stored.notes);
  NoteLostGroups(all, candidate.stored.notes);
  NoteRecast(found, all, candidate.stored.notes);
}

constexpr size_t kJudgedRows = 64;

// Where a setting that the file may have wrong would have brought matrices nearer. Zero points that
// are one off add the square of a step to the error of a weight, and what rounding leaves is well
// below that: the wrong reading is off by more than twice as much. The first rows show it, and
// scales that were folded into norms do not hide it.
void NoteMisread(const Model& original, size_t threads, Candidate& candidate) {
  const auto own = WeightsByName(candidate.model.weights);
  const auto reference = WeightsByName(original.weights);
  const std::vector<MatrixFacts>& found = candidate.stored.found;
  std::vector<SquaresOf> as_read(found.size()), otherwise(found.size());
  ParallelFor(found.size(), threads, [&](size_t i, size_t) {
    if (!found[i].other) return;
    const Weight &weight = *own.at(found[i].name), &given = *reference.at(found[i].name);
    const size_t rows = std::min(kJudgedRows, weight.rows());
    as_read[i] = SquaresUpTo(Channels::kInputs, weight, given, rows);
    otherwise[i] = SquaresUpTo(Channels::kInputs, found[i].other->read(), given, rows);
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

}  // namespace

void CompareWithReference(const Model& reference, size_t threads, Candidate& candidate) {
  const ChangedNorms changed = CountChangedNorms(candidate.model.weights, reference.weights);
  candidate.changed_norms = changed.all();
  CompareMatrices(reference, threads, changed, candidate);
  NoteMisread(reference, threads, candidate);
}

}  // namespace quantref
