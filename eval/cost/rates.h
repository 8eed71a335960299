#pragma once

#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "harness/method/method.h"
#include "harness/model/config.h"
#include "harness/model/weights.h"

namespace quantref {

// How a linear's weights and inputs are held while it is multiplied.
struct LinearFormat {
  std::optional<WeightScheme> scheme;  // none: as the checkpoint has them
  std::optional<ActivationScheme> activations;
  bool kernels = false;  // through the integer kernels
  bool operator==(const LinearFormat&) const = default;
};

// Of so many threads those that work at the same time: no more than there are cores. What each of
// more does in its turn is no faster, and looks as if it were.
size_t ThreadsAtWork(size_t threads);

// What small pieces of a run take on this machine now, in seconds: of them estimates are made. Each
// is measured when it is first asked for, on the model's own shapes and on all `threads` at the
// same time, which share caches and memory.
class Rates {
 public:
  // The model must outlive it. `window`: the tokens of the longest forward pass.
  Rates(const ModelConfig& config, const ModelWeights& weights, size_t window, size_t threads);

  // One block's work for one token, attention to keys apart, with the reference's weights.
  double BlockToken();
  // Of that the module that ScaleSearch takes for the tap, attention to keys apart, its readers in
  // FP32 and so many tokens going through it at once.
  double ModuleToken(Tap tap, size_t tokens);
  // One query of one head against one key.
  double Pair();
  // Of one position: its logits by the reference's head; the true token's likelihood by them; a
  // comparison with the reference's; these kept in every form, and a comparison with what is kept.
  double Head();
  double Score();
  double Compare();
  double Keep();
  double CompareKept();
  // FP32 operations of the products of calibration inputs.
  double GramOperation();

  // One weight and one token of a linear in this format; of its codes made by rounding to nearest
  // and laid out for the kernels, one weight.
  double Product(const LinearFormat& format, const LinearShape& shape);
  double Trial(const LinearFormat& format, const LinearShape& shape);

  // One linear rounded as planned and compared with its codes, on all threads together.
  double Round(const PlannedLinear& planned, const Method& method);

 private:
  struct FormatRates {
    LinearFormat format;
    double product, trial;
  };
  struct Rounding {
    const Rounder* rounder;
    WeightScheme scheme;
    size_t rows, cols;
    Knobs knobs;
    double seconds;
  };
  const FormatRates& Of(const LinearFormat& format, const LinearShape& shape);
  double MeasureRounding(const PlannedLinear& planned, const Method& method) const;

  const ModelConfig& config_;
  const ModelWeights& weights_;
  size_t window_, tokens_, threads_;  // tokens_: of a piece
  std::optional<double> block_token_, pair_, head_, score_, compare_, keep_, compare_kept_, gram_;
  std::map<std::pair<Tap, size_t>, double> modules_;
  std::vector<FormatRates> formats_;
  std::vector<Rounding> roundings_;
};

}  // namespace quantref
