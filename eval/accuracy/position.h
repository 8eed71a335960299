#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace quantref {

// What a model's logits say at one position, alone and beside the reference, and the sums of that
// over a window.

// -log softmax(logits)[target] in nats, in double. Infinite or NaN logits give a result that is not
// finite.
double NegativeLogLikelihood(std::span<const float> logits, uint32_t target);

// What one position says of a model beside the reference.
struct PositionScore {
  double nll = 0;                 // of the true token, nats
  double kl = 0;                  // KL(reference || model) over the whole vocabulary, nats
  double probability_change = 0;  // of the true token: model minus reference
  bool same_top =
      true;  // the models' most likely tokens are the same (of equal ones the lowest id)
};

// The reference's logits of one position, with what every comparison needs of them. room: as many
// elements, kept by the caller, for the probabilities, which spare each comparison their
// exponentials; it changes no bit.
struct ReferencePosition {
  ReferencePosition() = default;
  ReferencePosition(std::span<const float> logits, uint32_t target, std::span<double> room = {});
  std::span<const float> logits;
  std::span<const double> probabilities;
  uint32_t target = 0;
  size_t top = 0;  // before log_sum, which finds it
  double log_sum = 0, nll = 0;
};
PositionScore ScorePosition(const ReferencePosition& reference, std::span<const float> logits);

// What is measured of a model beside the reference; NLLs always are.
struct Metrics {
  bool kl = true;    // and what else is said of the distributions: the true token's probability
  bool top1 = true;  // agreement on the most likely token
  bool kept_logits = false;  // KL by what tools keep of the reference's logits

  // Whether anything needs a pass over the vocabulary of both models.
  bool Compare() const { return kl || top1 || kept_logits; }
  bool operator==(const Metrics&) const = default;
};

// One model's scores in one window: sums over the scored positions in their order, and the KL of
// each. For the reference itself all but the NLL sums stay 0 (same_top: the number of positions)
// and `kl_values` is empty.
struct WindowScores {
  double nll = 0, nll_squares = 0;
  double delta_squares = 0;  // of (NLL of the model - NLL of the reference)
  double kl = 0, kl_squares = 0;
  double probability_change = 0, probability_change_squares = 0;
  double same_top = 0;  // a number of positions
  std::vector<double> kl_values;
  // Sums of KeptDivergences, of the reference too; empty where they were not asked for.
  std::vector<double> kept_kl;
  std::vector<uint32_t> outliers;  // Subject::Reader::OutlierChannels
  std::string logits_sha256;       // of the FP32 logits, position by position; of
                                   // EvaluateOptions::hash_window only

  void Add(const PositionScore& score, double reference_nll);
  bool operator==(const WindowScores&) const = default;
};

// Its sums, and what a position adds to each; in their order in journals: a new one takes its place
// at the end.
struct WindowSum {
  double WindowScores::*sum;
  double (*of)(const PositionScore& score, double reference_nll);
};
inline constexpr WindowSum kWindowSums[] = {
    {&WindowScores::nll, [](const PositionScore& score, double) { return score.nll; }},
    {&WindowScores::nll_squares,
     [](const PositionScore& score, double) { return score.nll * score.nll; }},
    {&WindowScores::delta_squares,
     [](const PositionScore& score, double reference_nll) {
       const double delta = score.nll - reference_nll;
       return delta * delta;
     }},
    {&WindowScores::kl, [](const PositionScore& score, double) { return score.kl; }},
    {&WindowScores::kl_squares,
     [](const PositionScore& score, double) { return score.kl * score.kl; }},
    {&WindowScores::probability_change,
     [](const PositionScore& score, double) { return score.probability_change; }},
    {&WindowScores::probability_change_squares,
     [](const PositionScore& score, double) {
       return score.probability_change * score.probability_change;
     }},
    {&WindowScores::same_top,
     [](const PositionScore& score, double) { return score.same_top ? 1.0 : 0.0; }},
};
// One that the list lacks would be 0 after --resume.
static_assert(sizeof(WindowScores) ==
              std::size(kWindowSums) * sizeof(double) + sizeof(WindowScores::kl_values) +
                  sizeof(WindowScores::kept_kl) + sizeof(WindowScores::outliers) +
                  sizeof(WindowScores::logits_sha256));

// [model][window of the text]; models[0] is the reference. A window that was not measured has no
// entry.
using ScoreTable = std::vector<std::vector<std::optional<WindowScores>>>;

}  // namespace quantref
