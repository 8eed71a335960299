#include "eval/cost/cell_time.h"

#include <algorithm>

#include "eval/accuracy/kernel_path.h"
#include "harness/method/calibrate.h"
#include "harness/method/round_linear.h"
#include "harness/model/block.h"
#include "harness/model/ops.h"

namespace quantref {
namespace {

// A step of a plain loop over numbers: a difference squared in double, a maximum.
constexpr double kStep = 1e-9;

double AsDouble(size_t n) { return static_cast<double>(n); }

double Weights(const PlannedLinear& linear) {
  return AsDouble(linear.shape.rows) * AsDouble(linear.shape.cols);
}

size_t RoundedUp(size_t n, size_t by) { return (n + by - 1) / by; }

// Of `count` equal pieces on the threads: how many times one piece's time they take together.
double Turns(size_t count, size_t threads) { return AsDouble(RoundedUp(count, threads)); }

// Scores that attention computes for one head: tiles of queries against the keys of any of them.
double KeyPairs(size_t sliding_window, size_t tokens) {
  const size_t window = sliding_window == 0 ? tokens : sliding_window;
  double pairs = 0;
  for (size_t first = 0; first < tokens; first += kQueryTile) {
    const size_t count = std::min(kQueryTile, tokens - first);
    const size_t begin = first < window ? 0 : first - window + 1;
    pairs += AsDouble(count) * AsDouble(first + count - begin);
  }
  return pairs;
}

}  // namespace

CellTime::CellTime(const ModelConfig& config, const CellLoad* load, size_t threads, Rates& rates)
    : config_(config), load_(load), threads_(threads), rates_(rates) {}

BlockPlan CellTime::Block(size_t layer) const { return PlanOfBlock(config_, load_->plan, layer); }

LinearFormat CellTime::FormatOf(const PlannedLinear& linear, bool kernels) const {
  if (!linear.scheme) return {};
  return {linear.scheme, load_->method->activations, kernels};
}

double CellTime::LinearToken(const PlannedLinear& linear, bool kernels) const {
  return Weights(linear) * rates_.Product(FormatOf(linear, kernels), linear.shape);
}

// What the reference takes, and by how much quantized linears take longer or shorter.
double CellTime::BlockToken(const BlockPlan& block, bool kernels) const {
  const double reference = rates_.BlockToken();
  double seconds = reference;
  for (const PlannedLinear& linear : block.linears) {
    if (!linear.scheme) continue;
    seconds += LinearToken(linear, kernels);
    seconds -= Weights(linear) * rates_.Product({}, linear.shape);
  }
  constexpr double kLeastShare = 0.1;
  return std::max(seconds, kLeastShare * reference);
}

double CellTime::HeadToken(bool kernels) const {
  if (load_ == nullptr) return rates_.Head();
  const PlannedLinear& head = config_.tied_head ? load_->plan.front() : load_->plan.back();
  return head.scheme ? LinearToken(head, kernels) : rates_.Head();
}

double CellTime::Attention(size_t layer, size_t tokens) const {
  const AttentionShape shape = AttentionOf(config_, layer);
  return AsDouble(shape.heads) * KeyPairs(shape.window, tokens) * rates_.Pair();
}

// Where a cache is rounded it is here alone: neither calibration nor training sees it.
double CellTime::Forward(size_t tokens, bool kernels) const {
  constexpr double kRoundedCache = 1.25;  // rounding, and decoding tile by tile
  const double cache = load_ != nullptr && load_->kv_cache ? kRoundedCache : 1;
  double token = 0, attention = 0;
  for (size_t layer = 0; layer < config_.layers.size(); ++layer) {
    token += load_ == nullptr ? rates_.BlockToken() : BlockToken(Block(layer), kernels);
    attention += Attention(layer, tokens);
  }
  return AsDouble(tokens) * token + cache * attention;
}

// The last windows, where they are fewer than the threads, have as many of them each as there are.
double CellTime::OverWindows(size_t windows, double of_all) const {
  const size_t rest = windows % threads_;
  const double last = rest == 0 ? 0 : 1 / AsDouble(threads_ / rest);
  return of_all / AsDouble(windows) * (AsDouble(windows / threads_) + last);
}

double CellTime::Measure(std::span<const Window> windows, bool compare) const {
  const bool kernels = load_ != nullptr && load_->kernels;
  const double position =
      HeadToken(kernels) + (load_ != nullptr && compare ? rates_.Compare() : rates_.Score());
  double seconds = 0, forward = 0;
  for (size_t w = 0; w < windows.size(); ++w) {
    if (w == 0 || windows[w].length != windows[w - 1].length)
      forward = Forward(windows[w].length, kernels);
    seconds += forward + AsDouble(windows[w].scored()) * position;
  }
  return OverWindows(windows.size(), seconds);
}

double CellTime::KeptLogits(std::span<const Window> windows) const {
  const double position = rates_.CompareKept() + (load_ == nullptr ? rates_.Keep() : 0);
  double scored = 0;
  for (const Window& window : windows) scored += AsDouble(window.scored());
  return OverWindows(windows.size(), scored * position);
}

// Matrices and samples are shared out among the threads. The reference's logits, too, become
// probabilities, which takes about what a comparison does.
double CellTime::Sensitivity(const SensitivityWork& work, size_t samples, size_t length) const {
  const double block = AsDouble(length) * rates_.BlockToken() + Attention(0, length);
  const double head = AsDouble(length) * (rates_.Head() + rates_.Compare());
  return AsDouble(samples) * (AsDouble(work.blocks) * block + AsDouble(work.heads) * head) /
         AsDouble(threads_);
}

double CellTime::Gate(std::span<const Window> windows) const {
  if (load_ == nullptr || !load_->kernels) return 0;
  const size_t positions =
      GapTokens(DynamicFormat(load_->method->activations), windows.front().length);
  double linears = 0;  // of both kinds, beside each other
  for (size_t layer = 0; layer < config_.layers.size(); ++layer) {
    for (const PlannedLinear& linear : Block(layer).linears) {
      if (linear.scheme) linears += LinearToken(linear, false) + LinearToken(linear, true);
    }
  }
  const double comparison =
      HeadToken(false) + HeadToken(true) + rates_.Compare() + 2 * kStep * AsDouble(config_.vocab);
  return Forward(positions, false) + Forward(positions, true) +
         AsDouble(positions) * (linears + comparison);
}

// Samples run in parallel, batch after batch.
double CellTime::OverSamples(double of_sample) const {
  const size_t batches = load_->samples / kSampleBatch, rest = load_->samples % kSampleBatch;
  return of_sample * (AsDouble(batches) * Turns(kSampleBatch, threads_) + Turns(rest, threads_));
}

// A sample's way through a block of the reference up to the tap.
double CellTime::PartialPass(size_t layer, Tap last) const {
  const BlockLayout layout = LayoutOf(config_, layer);
  double done = 0;
  for (const LinearRow& row : layout.linears) {
    if (row.tap < last) done += AsDouble(row.rows * row.cols);
  }
  const double tokens = AsDouble(load_->length);
  return tokens * rates_.BlockToken() * done / AsDouble(layout.Weights()) +
         (last == Tap::kAttentionInput ? 0 : Attention(layer, load_->length));
}

// Collecting the inputs of a block of the reference. One pass does it for all cells whose linears
// are not rounded tap by tap.
double CellTime::Collecting(size_t layer, Others with) const {
  const bool transforms = !load_->method->transforms.empty();
  double of_sample = 0;
  if (load_->needs.true_sequential) {
    for (const Tap tap : kAllTaps) of_sample += PartialPass(layer, tap);
    if (transforms) of_sample += PartialPass(layer, Tap::kMlpHidden);
  } else if (std::none_of(with.begin(), with.end(),
                          [](const CellLoad* other) { return !other->needs.true_sequential; })) {
    of_sample = PartialPass(layer, Tap::kMlpHidden);
  }
  return OverSamples(load_->needs.cross ? 2 * of_sample : of_sample);  // the reference's beside it
}

// Going on with the quantized block; what the reference's gives comes with what is collected.
double CellTime::Advancing(size_t layer) const {
  if (!load_->sequential) return 0;
  const double tokens = AsDouble(load_->length);
  const double reference = load_->needs.cross ? tokens * rates_.BlockToken() : 0;
  return OverSamples(reference + tokens * BlockToken(Block(layer), true) +
                     Attention(layer, load_->length) * (load_->needs.cross ? 2 : 1));
}

// What is summed for all of these cells together.
double CellTime::Statistics(size_t layer, Others of) const {
  const BlockLayout layout = LayoutOf(config_, layer);
  const double tokens = AsDouble(load_->length);
  double visited = 0, products = 0, sums = 0;
  for (const Tap tap : kAllTaps) {
    GramPart part = GramPart::kNone;
    DataNeeds needs;
    for (const CellLoad* cell : of) {
      needs = needs | cell->needs;
      part = std::max(part, GramOf(PlanOfBlock(config_, cell->plan, layer), tap, cell->needs));
    }
    const double channels = AsDouble(layout.Channels(tap));
    const double block = std::min(channels, AsDouble(kGramBlock));
    visited += tokens * channels * (needs.channel_max + needs.channel_mean);
    if (part == GramPart::kNone) continue;
    const double summed = part == GramPart::kAll ? (channels + block) / 2 : block;  // a column
    products += 2 * tokens * channels * summed;
    sums += channels * summed;
  }
  const double gram = (products * rates_.GramOperation() + sums * kStep) / AsDouble(threads_);
  return OverSamples(visited * kStep) + AsDouble(load_->samples) * gram;
}

// So many tokens' way through the module of a tap: their inputs scaled, their outputs compared.
double CellTime::Module(size_t layer, Tap tap, size_t tokens) const {
  const size_t channels = LayoutOf(config_, layer).Channels(tap);
  const double token =
      rates_.ModuleToken(tap, tokens) + kStep * AsDouble(channels + config_.hidden);
  return AsDouble(tokens) * token + (tap == Tap::kAttentionInput ? Attention(layer, tokens) : 0);
}

// Nothing where another cell has searched the same.
double CellTime::Searches(size_t layer, Others with) const {
  const BlockPlan block = Block(layer);
  const Method& method = *load_->method;
  const auto scheme = std::find_if(block.linears.begin(), block.linears.end(),
                                   [](const auto& linear) { return linear.scheme; });
  if (scheme == block.linears.end()) return 0;
  for (const CellLoad* other : with) {
    if (TransformAlike(method, block, *other->method, PlanOfBlock(config_, other->plan, layer)))
      return 0;
  }
  double seconds = 0;
  for (const Transform* transform : method.transforms) {
    const SearchWork work = transform->Searches(block, method.KnobsOf(*transform));
    double serial = work.rounded * rates_.Trial(FormatOf(*scheme, true), scheme->shape) +
                    work.products * rates_.GramOperation() + work.visited * kStep;
    const double kept = AsDouble(std::min(load_->samples, kKeptSamples));
    const size_t rows = KeptRows(load_->samples, load_->length, work.tokens);
    for (const Tap tap : kAllTaps) {
      const double forwards = work.forwards[static_cast<size_t>(tap)];
      if (forwards > 0) serial += forwards * kept * Module(layer, tap, rows);
    }
    seconds += serial * Turns(work.candidates, threads_) / AsDouble(work.candidates);
  }
  return seconds;
}

// The outputs before and after on the kept inputs, for the layer report.
double CellTime::Report(const PlannedLinear& linear) const {
  const double token = Weights(linear) * rates_.Product({}, linear.shape) +
                       LinearToken(linear, false) + 2 * kStep * AsDouble(linear.shape.rows);
  const size_t kept = std::min(load_->samples, kKeptSamples);
  const size_t rows = KeptRows(load_->samples, load_->length, kReportTokens);
  return AsDouble(rows) * token * Turns(kept, threads_);
}

// Linears one after the other where they are calibrated, else side by side.
double CellTime::Rounding() const {
  double seconds = 0;
  for (const PlannedLinear& linear : load_->plan) {
    if (!linear.scheme) continue;
    const double alone = rates_.Round(linear, *load_->method);
    seconds += load_->samples > 0 ? alone + Report(linear) : alone / AsDouble(threads_);
  }
  return seconds;
}

double CellTime::Quantize(Others before) const {
  double seconds = Rounding();
  if (load_->samples == 0) return seconds;
  std::vector<const CellLoad*> all(before.begin(), before.end());
  all.push_back(load_);
  for (size_t layer = 0; layer < config_.layers.size(); ++layer) {
    // Cells that go on with what they made read different things from then on.
    const bool together = layer == 0 || !load_->sequential;
    const Others with = together ? before : Others();
    seconds += Collecting(layer, with) + Advancing(layer) + Searches(layer, with);
    seconds += Statistics(layer, together ? Others(all) : Others(&load_, 1));
    if (!with.empty()) seconds -= Statistics(layer, with);
  }
  return seconds;
}

// A step's products are those of four forward passes: the forward, the same again, gradients of
// inputs and of weights; of the head logits and their gradient; and the reference's beside them.
// Attention's backward makes five products for the forward's two.
double CellTime::Train() const {
  if (load_ == nullptr || !load_->training) return 0;
  const TrainSpec& spec = *load_->training;
  const double reference = spec.loss == TrainingLoss::kKl ? 1 : 0;
  const double layers = AsDouble(config_.layers.size());
  const double tokens = AsDouble(spec.batch * spec.length);
  double attention = 0;
  for (size_t layer = 0; layer < config_.layers.size(); ++layer)
    attention += Attention(layer, spec.length);
  const double token = (4 + reference) * layers * rates_.BlockToken() +
                       (2 + reference) * rates_.Head() + rates_.Compare();
  const double step = tokens * token + (4.5 + reference) * AsDouble(spec.batch) * attention;
  return AsDouble(spec.steps) * step / AsDouble(threads_);
}

}  // namespace quantref
