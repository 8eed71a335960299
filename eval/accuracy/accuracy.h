#pragma once

#include <array>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "eval/accuracy/subject.h"
#include "eval/text/protocol.h"

namespace quantref {

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
PositionScore Compare(const ReferencePosition& reference, std::span<const float> logits);

// What is measured of a model beside the reference; NLLs always are.
struct Metrics {
  bool kl = true;    // and what else is said of the distributions: the true token's probability
  bool top1 = true;  // agreement on the most likely token

  // Whether anything needs a pass over the vocabulary of both models.
  bool Compare() const { return kl || top1; }
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
  std::vector<uint32_t> outliers;  // Subject::Reader::OutlierChannels
  std::string logits_sha256;       // of the FP32 logits, position by position; of
                                   // EvaluateOptions::hash_window only

  void Add(const PositionScore& score, double reference_nll);
  bool operator==(const WindowScores&) const = default;
};

// Its sums, in their order in journals: a new one takes its place at the end.
inline constexpr std::array kWindowSums = {&WindowScores::nll,
                                           &WindowScores::nll_squares,
                                           &WindowScores::delta_squares,
                                           &WindowScores::kl,
                                           &WindowScores::kl_squares,
                                           &WindowScores::probability_change,
                                           &WindowScores::probability_change_squares,
                                           &WindowScores::same_top};
// One that the list lacks would be 0 after --resume.
static_assert(sizeof(WindowScores) ==
              kWindowSums.size() * sizeof(double) + sizeof(WindowScores::kl_values) +
                  sizeof(WindowScores::outliers) + sizeof(WindowScores::logits_sha256));

// [model][window of the text]; models[0] is the reference. A window that was not measured has no
// entry.
using ScoreTable = std::vector<std::vector<std::optional<WindowScores>>>;

struct EvaluateOptions {
  size_t threads = 1;
  bool compare = true;     // false: NLL only
  size_t hash_window = 0;  // the window whose logits are hashed, where it is among the chosen
  // Called from the worker threads, one at a time; may throw to stop. done counts passes of one
  // model over one window.
  std::function<void(size_t done, size_t total)> progress;
  // Called after each window with all models' scores, one at a time, in the order of completion.
  std::function<void(size_t window, std::span<const WindowScores> scores)> on_window;
};

// What one window at a time takes of Evaluate's memory beside the models' readers: a tile of
// positions' logits, FP32, of the reference and, where there are others, of one of them, and the
// reference's probabilities in double where several are compared with it. models: with the
// reference.
size_t LogitBytes(size_t vocab, size_t models, bool compare);

// Takes all models through each of the chosen windows together and puts their scores into the
// table: one pass of the reference for all, and the logits of a tile of positions of two models at
// a time, so the memory beyond the models' own is O(tile * vocabulary). Windows run in parallel,
// one a thread; of the last ones, where they are fewer than the threads, each has a team of these.
// The scores are the same bits for any number of threads and models. Adds the seconds spent in each
// model, of all threads, to `seconds`. Throws Error where a model's logits are not finite.
void Evaluate(std::span<const Subject* const> models, const Protocol& protocol,
              const TokenStream& stream, std::span<const Window> windows,
              std::span<const size_t> chosen, const EvaluateOptions& options, ScoreTable& table,
              std::vector<double>& seconds);

}  // namespace quantref
