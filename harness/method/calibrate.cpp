#include "harness/method/calibrate.h"

#include <algorithm>
#include <cmath>
#include <mutex>

#include "harness/base/check.h"
#include "harness/base/clock.h"
#include "harness/base/parallel.h"
#include "harness/kernels/gemm.h"
#include "harness/method/round_linear.h"
#include "harness/model/transformer.h"

namespace quantref {
namespace {

void CopyRows(MatrixView<const float> from, MatrixView<float> to) {
  for (size_t t = 0; t < to.rows(); ++t) std::copy_n(from.row(t), from.cols(), to.row(t));
}

// Products of some columns of a tap's Gram matrix: from row 0 to the diagonal, or on it alone; or
// of its products with the reference's inputs, all rows.
struct GramStripe {
  size_t tap, col;
  bool above, cross = false;
};

// The long ones of a tap first, so that threads end together.
std::vector<GramStripe> GramStripes(const Calibrator::Pass& pass) {
  std::vector<GramStripe> stripes;
  for (const Tap tap : pass.taps) {
    const size_t at = static_cast<size_t>(tap);
    const GramPart part = pass.grams[at];
    const size_t count = (pass.layout.Channels(tap) + kGramBlock - 1) / kGramBlock;
    for (size_t i = count; pass.crosses[at] && i-- > 0;)
      stripes.push_back({at, i * kGramBlock, true, true});
    for (size_t i = count; part != GramPart::kNone && i-- > 0;)
      stripes.push_back({at, i * kGramBlock, part == GramPart::kAll});
  }
  return stripes;
}

// gram += rows^T x, at (row, col), `product` being scratch of that shape.
void AddProduct(MatrixView<const float> rows, MatrixView<const float> x, size_t row, size_t col,
                MatrixView<float> product, Matrix<double>& gram) {
  MultiplyFirstTransposed(rows, x, product);
  for (size_t i = 0; i < product.rows(); ++i) {
    for (size_t j = 0; j < product.cols(); ++j)
      gram(row + i, col + j) += static_cast<double>(product(i, j));
  }
}

// gram += x^T x in this stripe, sample after sample; the products of a sample in FP32, their sum in
// double. The block on the diagonal is a product of its own, so that it has the same bits whether
// what is above it is asked for or not.
void AddStripe(std::span<const Matrix<float>> samples, const GramStripe& stripe,
               Matrix<double>& gram) {
  const size_t col = stripe.col, width = std::min(kGramBlock, gram.cols() - col);
  Matrix<float> above(stripe.above ? col : 0, width), block(width, width);
  for (const Matrix<float>& x : samples) {
    const MatrixView<const float> own = x.view().Cols(col, width);
    if (above.rows() > 0) AddProduct(x.view().Cols(0, col), own, 0, col, above.view(), gram);
    AddProduct(own, own, col, col, block.view(), gram);
  }
}

// cross += (r - x)^T x in this stripe, likewise; `differences`: r - x, sample by sample.
void AddCrossStripe(std::span<const Matrix<float>> samples,
                    std::span<const Matrix<float>> differences, const GramStripe& stripe,
                    Matrix<double>& cross) {
  const size_t width = std::min(kGramBlock, cross.cols() - stripe.col);
  Matrix<float> product(cross.rows(), width);
  for (size_t i = 0; i < samples.size(); ++i) {
    AddProduct(differences[i].view(), samples[i].view().Cols(stripe.col, width), 0, stripe.col,
               product.view(), cross);
  }
}

void SubtractFrom(MatrixView<float> from, MatrixView<const float> x) {
  for (size_t t = 0; t < from.rows(); ++t) {
    for (size_t j = 0; j < from.cols(); ++j) from(t, j) -= x(t, j);
  }
}

void MirrorUpperTriangle(Matrix<double>& gram) {
  for (size_t i = 0; i < gram.rows(); ++i) {
    for (size_t j = 0; j < i; ++j) gram(i, j) = gram(j, i);
  }
}

InputStatistics EmptyStatistics(size_t channels, const DataNeeds& needs, GramPart gram,
                                bool cross) {
  InputStatistics statistics;
  if (needs.channel_max) statistics.channel_max.assign(channels, 0);
  if (needs.channel_mean) statistics.channel_mean.assign(channels, 0);
  if (gram != GramPart::kNone) {
    statistics.gram = Matrix<double>(channels, channels);
    std::fill_n(statistics.gram.data(), channels * channels, 0.0);
  }
  if (cross) {
    statistics.cross = Matrix<double>(channels, channels);
    std::fill_n(statistics.cross.data(), channels * channels, 0.0);
  }
  return statistics;
}

}  // namespace

TextRead ReadBy(const CalibrationData& data, const DataNeeds& needs) {
  const size_t samples = data.samples.size(), length = data.samples.at(0).size();
  if (needs.Any()) return {samples, length};
  return {std::min(samples, kKeptSamples), KeptRows(samples, length, kReportTokens)};
}

GramPart GramOf(const BlockPlan& block, Tap tap, const DataNeeds& needs) {
  GramPart part = GramPart::kNone;
  for (const LinearIndex reader : block.layout.Readers(tap)) {
    const std::optional<WeightScheme>& scheme = block[reader].scheme;
    if (!scheme) continue;
    if (needs.gram) return GramPart::kAll;
    if (!needs.gram_blocks) continue;
    const bool inside =
        scheme->granularity == Granularity::kGroup && kGramBlock % scheme->group == 0;
    part = std::max(part, inside ? GramPart::kBlocks : GramPart::kAll);
  }
  return part;
}

bool CrossOf(const BlockPlan& block, Tap tap, const DataNeeds& needs) {
  const std::vector<LinearIndex> readers = block.layout.Readers(tap);
  return needs.cross && std::any_of(readers.begin(), readers.end(), [&](LinearIndex reader) {
           return block[reader].scheme.has_value();
         });
}

// What one sample adds to a tap's statistics.
struct Calibrator::Partial {
  std::vector<float> channel_max;
  std::vector<double> channel_sum;

  void Observe(MatrixView<const float> x, const DataNeeds& needs) {
    if (needs.channel_max) channel_max.assign(x.cols(), 0);
    if (needs.channel_mean) channel_sum.assign(x.cols(), 0);
    for (size_t t = 0; t < x.rows(); ++t) {
      const float* row = x.row(t);
      for (size_t j = 0; j < channel_max.size(); ++j) {
        channel_max[j] = std::max(channel_max[j], std::fabs(row[j]));
      }
      for (size_t j = 0; j < channel_sum.size(); ++j) {
        channel_sum[j] += static_cast<double>(std::fabs(row[j]));
      }
    }
  }

  void AddTo(InputStatistics& statistics) const {
    for (size_t j = 0; j < channel_max.size(); ++j) {
      statistics.channel_max[j] = std::max(statistics.channel_max[j], channel_max[j]);
    }
    for (size_t j = 0; j < channel_sum.size(); ++j) statistics.channel_mean[j] += channel_sum[j];
  }
};

struct Calibrator::Batch {
  size_t first = 0, count = 0;
  std::array<std::array<Partial, kSampleBatch>, kTaps> partials;
  std::array<std::vector<Matrix<float>>, kTaps> inputs;       // for the Gram matrices
  std::array<std::vector<Matrix<float>>, kTaps> differences;  // the reference's less these
};

Calibrator::Calibrator(const ModelConfig& config, const ModelWeights& weights,
                       const CalibrationData& data, const TextRead& read, size_t threads,
                       size_t memory)
    : config_(config),
      data_(data),
      tokens_(read.length),
      threads_(threads),
      store_(read.samples, tokens_, config.hidden, memory),
      memory_(memory),
      workspaces_(threads),
      scratch_(threads) {
  QR_CHECK_LE(read.samples, data.samples.size());
  EmbedInto(weights, store_);
}

void Calibrator::EmbedInto(const ModelWeights& weights, const ActivationStore& store) const {
  for (size_t s = 0; s < store.samples(); ++s) {
    QR_CHECK_EQ(data_.samples[s].size(), data_.samples[0].size());
    Embed(config_, weights, std::span(data_.samples[s]).first(tokens_), store.sample(s));
  }
}

void Calibrator::Accompany(const ModelWeights& reference) {
  EmbedInto(reference, reference_.emplace(samples(), tokens_, config_.hidden, memory_));
}

void Calibrator::AdvanceReference(const Part& part) {
  QR_CHECK(accompanied());
  ParallelFor(samples(), threads_, [&](size_t sample, size_t worker) {
    part(reference_->sample(sample), workspaces_[worker], {});
  });
}

Calibrator::Calibrator(const Calibrator& other)
    : config_(other.config_),
      data_(other.data_),
      tokens_(other.tokens_),
      threads_(other.threads_),
      store_(other.store_),
      reference_(other.reference_),
      memory_(other.memory_),
      workspaces_(threads_),
      scratch_(threads_) {}

MatrixView<float> Calibrator::ScratchCopy(MatrixView<const float> h, size_t worker) {
  const MatrixView<float> copy = Shaped(scratch_[worker], h.rows(), h.cols());
  CopyRows(h, copy);
  return copy;
}

// Of one sample whose inputs are in the batch.
void Calibrator::ForwardReference(const Pass& pass, size_t sample, size_t worker, Batch& batch,
                                  size_t i) {
  const Observer observer = [&](Tap tap, MatrixView<const float> x) {
    const size_t at = static_cast<size_t>(tap);
    if (!pass.crosses[at]) return;
    Matrix<float>& difference = batch.differences[at][i];
    CopyRows(x, Shaped(difference, x.rows(), x.cols()));
    SubtractFrom(difference.view(), batch.inputs[at][i].view());
  };
  pass.reference(ScratchCopy(reference_->sample(sample), worker), workspaces_[worker], observer);
}

void Calibrator::Forward(const Part& part, const Pass& pass, Batch& batch,
                         std::array<InputStatistics, kTaps>& statistics,
                         const std::function<void()>& on_sample) {
  std::mutex mutex;
  ParallelFor(batch.count, threads_, [&](size_t i, size_t worker) {
    const size_t sample = batch.first + i;
    const Observer observer = [&](Tap tap, MatrixView<const float> x) {
      if (std::find(pass.taps.begin(), pass.taps.end(), tap) == pass.taps.end()) return;
      const size_t at = static_cast<size_t>(tap);
      batch.partials[at][i].Observe(x, pass.needs);
      if (pass.grams[at] != GramPart::kNone || pass.crosses[at])
        CopyRows(x, Shaped(batch.inputs[at][i], x.rows(), x.cols()));
      if (sample < statistics[at].kept.size()) {
        const size_t rows = KeptRows(samples(), x.rows(), pass.needs.kept);
        CopyRows(x, Shaped(statistics[at].kept[sample], rows, x.cols()));
      }
    };
    const MatrixView<float> h = store_.sample(sample);
    part(pass.advance ? h : ScratchCopy(h, worker), workspaces_[worker], observer);
    if (pass.reference) ForwardReference(pass, sample, worker, batch, i);
    const std::lock_guard lock(mutex);
    if (on_sample) on_sample();
  });
}

Calibrator::Seconds Calibrator::Run(const Part& part, const Pass& pass,
                                    std::array<InputStatistics, kTaps>& statistics,
                                    const std::function<void()>& on_sample) {
  for (const Tap tap : pass.taps) {
    const size_t at = static_cast<size_t>(tap);
    InputStatistics& of_tap = statistics[at];
    of_tap =
        EmptyStatistics(pass.layout.Channels(tap), pass.needs, pass.grams[at], pass.crosses[at]);
    of_tap.tokens = samples() * tokens_;
    if (pass.needs.kept > 0) of_tap.kept.resize(std::min(kKeptSamples, samples()));
  }
  const std::vector<GramStripe> stripes = GramStripes(pass);
  Seconds seconds;
  Batch batch;
  for (batch.first = 0; batch.first < samples(); batch.first += kSampleBatch) {
    batch.count = std::min(kSampleBatch, samples() - batch.first);
    for (auto* of_taps : {&batch.inputs, &batch.differences}) {
      for (auto& inputs : *of_taps) inputs.resize(batch.count);
    }
    Clock::time_point start = Clock::now();
    Forward(part, pass, batch, statistics, on_sample);
    seconds.forward += Since(start);
    start = Clock::now();
    for (const Tap tap : pass.taps) {
      const size_t at = static_cast<size_t>(tap);
      for (size_t i = 0; i < batch.count; ++i) batch.partials[at][i].AddTo(statistics[at]);
    }
    ParallelFor(stripes.size(), threads_, [&](size_t i, size_t) {
      const GramStripe& stripe = stripes[i];
      InputStatistics& of_tap = statistics[stripe.tap];
      if (stripe.cross) {
        AddCrossStripe(batch.inputs[stripe.tap], batch.differences[stripe.tap], stripe,
                       of_tap.cross);
      } else {
        AddStripe(batch.inputs[stripe.tap], stripe, of_tap.gram);
      }
    });
    seconds.statistics += Since(start);
  }
  for (const Tap tap : pass.taps) {
    InputStatistics& of_tap = statistics[static_cast<size_t>(tap)];
    for (double& mean : of_tap.channel_mean) mean /= static_cast<double>(of_tap.tokens);
    MirrorUpperTriangle(of_tap.gram);
  }
  return seconds;
}

}  // namespace quantref
