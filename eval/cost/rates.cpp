#include "eval/cost/rates.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "eval/accuracy/accuracy.h"
#include "eval/accuracy/kept_logits.h"
#include "harness/base/clock.h"
#include "harness/base/error.h"
#include "harness/base/machine.h"
#include "harness/base/parallel.h"
#include "harness/base/rng.h"
#include "harness/kernels/gemm.h"
#include "harness/method/round_linear.h"
#include "harness/method/scale_search.h"
#include "harness/model/block.h"
#include "harness/quant/grid.h"

namespace quantref {
namespace {

// Tokens of a piece, fewer where one block would take more operations than this; keys that a piece
// of attention sees; rows and columns of a linear that stands for larger ones.
constexpr size_t kTokens = 256, kLeastTokens = 32, kKeys = 2048, kRows = 1024, kCols = 1024;
constexpr double kOperations = 2e10;
constexpr int kRepetitions = 3;
// A piece shorter than this is repeated, so that clocks and first touches do not count.
constexpr double kShortest = 0.0003;

Matrix<float> RandomMatrix(size_t rows, size_t cols, uint64_t seed = 1) {
  Matrix<float> matrix(rows, cols);
  Rng rng(seed);
  for (size_t i = 0; i < rows * cols; ++i)
    matrix.data()[i] = static_cast<float>(rng.Uniform() - 0.5);
  return matrix;
}

template <typename F>
double SecondsOf(const F& f) {
  const Clock::time_point start = Clock::now();
  f();
  return Since(start);
}

// The median seconds of a call of what `make()` returns, each thread calling its own.
template <typename F>
double OnAll(size_t threads, const F& make) {
  std::vector<double> seconds(threads * kRepetitions);
  ParallelFor(threads, threads, [&](size_t thread, size_t) {
    const auto piece = make();
    const double first = SecondsOf(piece);
    const int calls =
        first >= kShortest ? 1 : static_cast<int>(std::ceil(kShortest / (first + 1e-7)));
    for (int i = 0; i < kRepetitions; ++i) {
      seconds[thread * kRepetitions + static_cast<size_t>(i)] =
          SecondsOf([&] {
            for (int call = 0; call < calls; ++call) piece();
          }) /
          calls;
    }
  });
  const auto middle = seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2);
  std::nth_element(seconds.begin(), middle, seconds.end());
  return *middle;
}

size_t PieceTokens(const ModelConfig& config, size_t window) {
  const double of_token = config.ForwardFlops(1, 0) / static_cast<double>(config.layers.size());
  const auto affordable = static_cast<size_t>(kOperations / of_token);
  return std::min(window, std::clamp(affordable, kLeastTokens, kTokens));
}

}  // namespace

size_t ThreadsAtWork(size_t threads) { return std::min(threads, CoreCount()); }

Rates::Rates(const ModelConfig& config, const ModelWeights& weights, size_t window, size_t threads)
    : config_(config),
      weights_(weights),
      window_(window),
      tokens_(PieceTokens(config, window)),
      threads_(threads) {}

double Rates::Pair() {
  if (pair_) return *pair_;
  const AttentionShape head{.heads = 1, .kv_heads = 1, .head_dim = config_.head_dim};
  const size_t queries = std::min(window_, 4 * kQueryTile), keys = std::min(window_, kKeys);
  const double seconds = OnAll(threads_, [&] {
    return [&head, q = RandomMatrix(queries, head.head_dim), k = RandomMatrix(keys, head.head_dim),
            v = RandomMatrix(keys, head.head_dim), out = Matrix<float>(queries, head.head_dim),
            scratch = std::make_shared<std::vector<AttentionScratch>>()] {
      const MatrixView<float> result(out.data(), out.rows(), out.cols());
      CausalAttention(head, q.view(), k.view(), v.view(), *scratch, result);
    };
  });
  pair_ = seconds / static_cast<double>(queries * keys);
  return *pair_;
}

double Rates::BlockToken() {
  if (block_token_) return *block_token_;
  const RopeTable rope(config_, tokens_);
  const double seconds = OnAll(threads_, [&] {
    return [&, input = RandomMatrix(tokens_, config_.hidden),
            h = Matrix<float>(tokens_, config_.hidden), work = std::make_shared<Workspace>()] {
      std::copy_n(input.data(), tokens_ * config_.hidden, h.data());
      const MatrixView<float> rows(h.data(), h.rows(), h.cols());
      BlockForward({config_, 0, rope}, weights_.blocks[0], rows, *work);
    };
  });
  const double tokens = static_cast<double>(tokens_);
  const double attention = static_cast<double>(config_.heads) * tokens * tokens * Pair();
  block_token_ = std::max(seconds - attention, 0.5 * seconds) / tokens;
  return *block_token_;
}

double Rates::ModuleToken(Tap tap, size_t tokens) {
  tokens = std::min(tokens, tokens_);
  const auto known = modules_.find({tap, tokens});
  if (known != modules_.end()) return known->second;
  const RopeTable rope(config_, tokens);
  const BlockShape shape{config_, 0, rope};
  const BlockLayout layout = shape.layout();
  BlockWeights weights = weights_.blocks[0];
  for (const LinearIndex reader : layout.Readers(tap))
    weights.linears[reader].weight = Weight(weights.linears[reader].weight.Decode());
  const double seconds = OnAll(threads_, [&] {
    return [&, x = RandomMatrix(tokens, layout.Channels(tap)),
            y = Matrix<float>(tokens, config_.hidden), work = std::make_shared<Workspace>()] {
      ModuleForward(shape, weights, tap, x.view(), {y.data(), y.rows(), y.cols()}, *work);
    };
  });
  const double of_tokens = static_cast<double>(tokens);
  const double attention = tap == Tap::kAttentionInput
                               ? static_cast<double>(config_.heads) * of_tokens * of_tokens * Pair()
                               : 0;
  return modules_[{tap, tokens}] = std::max(seconds - attention, 0.5 * seconds) / of_tokens;
}

double Rates::Head() {
  if (head_) return *head_;
  const double of_row = 2.0 * static_cast<double>(config_.hidden * config_.vocab);
  const auto affordable = static_cast<size_t>(kOperations / 4 / of_row);
  const size_t rows = std::min(window_, std::clamp<size_t>(affordable, 16, 128));
  const double seconds = OnAll(threads_, [&] {
    return [&, x = RandomMatrix(rows, config_.hidden), y = Matrix<float>(rows, config_.vocab),
            scratch = std::make_shared<LinearScratch>()] {
      ApplyLinear(weights_.head, x.view(), {y.data(), y.rows(), y.cols()}, *scratch);
    };
  });
  head_ = seconds / static_cast<double>(rows);
  return *head_;
}

double Rates::Score() {
  if (!score_) {
    score_ = OnAll(threads_, [&] {
      return [logits = RandomMatrix(1, config_.vocab)] {
        ReferencePosition(logits.view().row_span(0), 0);
      };
    });
  }
  return *score_;
}

double Rates::Compare() {
  if (!compare_) {
    const Matrix<float> a = RandomMatrix(1, config_.vocab, 1);
    const ReferencePosition reference(a.view().row_span(0), 0);
    compare_ = OnAll(threads_, [&] {
      return [&reference, b = RandomMatrix(1, config_.vocab, 2)] {
        ScorePosition(reference, b.view().row_span(0));
      };
    });
  }
  return *compare_;
}

double Rates::Keep() {
  if (!keep_) {
    const Matrix<float> logits = RandomMatrix(1, config_.vocab);
    const ReferencePosition reference(logits.view().row_span(0), 0);
    keep_ = OnAll(threads_, [&] { return [&reference] { KeptPosition{reference}; }; });
  }
  return *keep_;
}

double Rates::CompareKept() {
  if (!compare_kept_) {
    const Matrix<float> logits = RandomMatrix(1, config_.vocab, 1);
    const KeptPosition kept(ReferencePosition(logits.view().row_span(0), 0));
    compare_kept_ = OnAll(threads_, [&] {
      return [&kept, other = RandomMatrix(1, config_.vocab, 2)] {
        kept.From(other.view().row_span(0));
      };
    });
  }
  return *compare_kept_;
}

double Rates::GramOperation() {
  if (gram_) return *gram_;
  const size_t channels = std::min(config_.hidden, size_t{512});
  const double seconds = OnAll(threads_, [&] {
    return [x = RandomMatrix(tokens_, channels), product = Matrix<float>(channels, channels)] {
      const MatrixView<float> result(product.data(), product.rows(), product.cols());
      MultiplyFirstTransposed(x.view(), x.view(), result);
    };
  });
  gram_ = seconds / (2.0 * static_cast<double>(tokens_ * channels * channels));
  return *gram_;
}

namespace {

Linear InFormat(const LinearFormat& format, MatrixView<const float> values) {
  if (!format.scheme) return {"sample", Weight::RoundedToHalf(values, "sample"), {}, {}};
  const Weight weight(std::make_shared<PackedMatrix>(RoundToNearest(values, *format.scheme)));
  Linear linear{"sample", format.kernels ? weight.WithKernels() : weight, {}, {}};
  linear.activations = DynamicFormat(format.activations);
  if (linear.activations && linear.activations->KeepsWeights())
    linear.outlier_weights = OutlierWeights(Weight::RoundedToHalf(values, "sample"), "sample");
  return linear;
}

}  // namespace

const Rates::FormatRates& Rates::Of(const LinearFormat& format, const LinearShape& shape) {
  const auto known = std::find_if(formats_.begin(), formats_.end(),
                                  [&](const FormatRates& rates) { return rates.format == format; });
  if (known != formats_.end()) return *known;
  const Matrix<float> values = RandomMatrix(std::min(shape.rows, kRows), shape.cols);
  const double trial = !format.scheme ? 0 : OnAll(threads_, [&] {
    return [&, rounded = Matrix<float>(values.rows(), values.cols())] {
      const MatrixView<float> result(rounded.data(), rounded.rows(), rounded.cols());
      RoundValues(values.view(), *format.scheme, {}, result);
    };
  });
  const Linear linear = InFormat(format, values.view());
  const double product = OnAll(threads_, [&] {
    return
        [&linear, x = RandomMatrix(tokens_, values.cols()),
         y = Matrix<float>(tokens_, values.rows()), scratch = std::make_shared<LinearScratch>()] {
          ApplyLinear(linear, x.view(), {y.data(), y.rows(), y.cols()}, *scratch);
        };
  });
  const double weights = static_cast<double>(values.rows() * values.cols());
  formats_.push_back({format, product / (weights * static_cast<double>(tokens_)), trial / weights});
  return formats_.back();
}

double Rates::Product(const LinearFormat& format, const LinearShape& shape) {
  return Of(format, shape).product;
}

double Rates::Trial(const LinearFormat& format, const LinearShape& shape) {
  return Of(format, shape).trial;
}

namespace {

// What a rounder may ask for, of inputs that are all alike but for some noise.
InputStatistics SampleStatistics(size_t channels, const DataNeeds& needs) {
  InputStatistics statistics;
  statistics.tokens = channels;
  if (needs.channel_max) statistics.channel_max.assign(channels, 1.0f);
  if (needs.channel_mean) statistics.channel_mean.assign(channels, 1.0);
  if (needs.cross) {
    statistics.cross = Matrix<double>(channels, channels);
    std::fill_n(statistics.cross.data(), channels * channels, 0.01);
  }
  if (!needs.gram) return statistics;
  statistics.gram = Matrix<double>(channels, channels);
  Rng rng(1);
  for (size_t i = 0; i < channels; ++i) {
    for (size_t j = 0; j < i; ++j)
      statistics.gram(i, j) = statistics.gram(j, i) = 0.1 * (rng.Uniform() - 0.5);
    statistics.gram(i, i) = static_cast<double>(channels) + rng.Uniform();
  }
  return statistics;
}

// Columns of a linear that stands for one with more: whole groups.
size_t SampleCols(const PlannedLinear& planned) {
  const size_t cols = planned.shape.cols;
  if (cols <= kCols || planned.scheme->granularity != Granularity::kGroup)
    return std::min(cols, kCols);
  const size_t group = ShapeOfScales(planned.shape.rows, cols, *planned.scheme).cols_each;
  return group >= kCols ? group : kCols / group * group;
}

}  // namespace

// Rounders' time is taken for a constant and a part for each row, both of which grow with the
// columns: as a factorization and its substitutions where the rounder reads Gram matrices, else in
// proportion. Where the linear is no larger than the samples, it is the time of the linear itself.
double Rates::MeasureRounding(const PlannedLinear& planned, const Method& method) const {
  constexpr size_t kRowsOfThread = 256;
  const DataNeeds needs = method.RounderNeeds({planned});
  PlannedLinear sample = planned;
  sample.shape.cols = SampleCols(planned);
  const InputStatistics statistics = SampleStatistics(sample.shape.cols, needs);
  const LinearContext context{.inputs = needs.Any() ? &statistics : nullptr, .threads = threads_};
  const auto seconds = [&](size_t rows) {
    sample.shape.rows = rows;
    const Weight weight(RandomMatrix(rows, sample.shape.cols));
    double least = HUGE_VAL;
    for (int i = 0; i < kRepetitions; ++i) {
      Linear linear{planned.shape.name, weight, {}, {}};
      least = std::min(least, SecondsOf([&] { RoundLinear(sample, method, context, linear); }));
    }
    return least;
  };
  const size_t rows = planned.shape.rows, most = std::min(rows, 2 * kRowsOfThread * threads_);
  const double wider =
      static_cast<double>(planned.shape.cols) / static_cast<double>(sample.shape.cols);
  const double whole = seconds(most);
  if ((rows == most && wider == 1) || most < 2) return whole;
  const double of_row =
      std::max(0.0, whole - seconds(most / 2)) / static_cast<double>(most - most / 2);
  const double constant = std::max(0.0, whole - static_cast<double>(most) * of_row);
  const double power = needs.gram ? 2 : 1;
  return constant * std::pow(wider, needs.gram ? 3 : 1) +
         static_cast<double>(rows) * of_row * std::pow(wider, power);
}

double Rates::Round(const PlannedLinear& planned, const Method& method) {
  const Rounder* const rounder = &method.RounderFor(planned);
  const Knobs knobs = method.KnobsOf(*rounder);
  const auto& [name, rows, cols] = planned.shape;
  for (const Rounding& known : roundings_) {
    if (known.rounder == rounder && known.scheme == *planned.scheme && known.rows == rows &&
        known.cols == cols && known.knobs == knobs)
      return known.seconds;
  }
  double seconds = 0;
  try {
    seconds = MeasureRounding(planned, method);
  } catch (const Interrupted&) {
    throw;
  } catch (const Error&) {  // random weights say nothing of the model's
  }
  roundings_.push_back({rounder, *planned.scheme, rows, cols, knobs, seconds});
  return seconds;
}

}  // namespace quantref
