#include "harness/method/calibrate.h"

#include <algorithm>
#include <cmath>
#include <mutex>

#include "harness/base/check.h"
#include "harness/base/clock.h"
#include "harness/base/parallel.h"
#include "harness/kernels/gemm.h"
#include "harness/model/transformer.h"

namespace quantref {
namespace {

constexpr size_t kGramStripe = 256;

void CopyRows(MatrixView<const float> from, MatrixView<float> to) {
  for (size_t t = 0; t < from.rows(); ++t) std::copy_n(from.row(t), from.cols(), to.row(t));
}

// Some columns of the upper triangle of a tap's Gram matrix, from row 0 to the diagonal.
struct GramStripe {
  size_t tap, col;
};

// The long ones of a tap first, so that threads end together.
std::vector<GramStripe> GramStripes(const BlockLayout& layout, std::span<const Tap> taps) {
  std::vector<GramStripe> stripes;
  for (const Tap tap : taps) {
    const size_t count = (layout.Channels(tap) + kGramStripe - 1) / kGramStripe;
    for (size_t i = count; i-- > 0;) stripes.push_back({static_cast<size_t>(tap), i * kGramStripe});
  }
  return stripes;
}

// gram += x^T x in this stripe, sample after sample; the products of a sample in FP32, their sum in
// double.
void AddStripe(std::span<const Matrix<float>> samples, const GramStripe& stripe,
               Matrix<double>& gram) {
  const size_t width = std::min(kGramStripe, gram.cols() - stripe.col), height = stripe.col + width;
  Matrix<float> product(height, width);
  for (const Matrix<float>& x : samples) {
    MultiplyFirstTransposed(x.view().Cols(0, height), x.view().Cols(stripe.col, width),
                            product.view());
    for (size_t i = 0; i < height; ++i) {
      for (size_t j = 0; j < width; ++j)
        gram(i, stripe.col + j) += static_cast<double>(product(i, j));
    }
  }
}

void MirrorUpperTriangle(Matrix<double>& gram) {
  for (size_t i = 0; i < gram.rows(); ++i) {
    for (size_t j = 0; j < i; ++j) gram(i, j) = gram(j, i);
  }
}

InputStatistics EmptyStatistics(size_t channels, const DataNeeds& needs) {
  InputStatistics statistics;
  if (needs.channel_max) statistics.channel_max.assign(channels, 0);
  if (needs.channel_mean) statistics.channel_mean.assign(channels, 0);
  if (needs.gram) {
    statistics.gram = Matrix<double>(channels, channels);
    std::fill_n(statistics.gram.data(), channels * channels, 0.0);
  }
  return statistics;
}

}  // namespace

size_t SamplesRead(const CalibrationData& data, const DataNeeds& needs) {
  const bool all = needs.channel_max || needs.channel_mean || needs.gram;
  return all ? data.samples.size() : std::min(kKeptSamples, data.samples.size());
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
  std::array<std::vector<Matrix<float>>, kTaps> inputs;  // for the Gram matrices
};

Calibrator::Calibrator(const ModelConfig& config, const ModelWeights& weights,
                       const CalibrationData& data, size_t samples, size_t threads)
    : config_(config),
      tokens_(data.samples.at(0).size()),
      threads_(threads),
      store_(samples, tokens_, config.hidden, data.activation_budget),
      workspaces_(threads),
      scratch_(threads) {
  QR_CHECK_LE(samples, data.samples.size());
  for (size_t s = 0; s < samples; ++s) {
    QR_CHECK_EQ(data.samples[s].size(), tokens_);
    Embed(weights, data.samples[s], store_.sample(s));
  }
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
      if (pass.needs.gram) CopyRows(x, Shaped(batch.inputs[at][i], x.rows(), x.cols()));
      if (pass.needs.kept && sample < kKeptSamples) {
        CopyRows(x, Shaped(statistics[at].kept[sample], x.rows(), x.cols()));
      }
    };
    MatrixView<float> h = store_.sample(sample);
    if (!pass.advance) {
      const MatrixView<float> copy = Shaped(scratch_[worker], h.rows(), h.cols());
      CopyRows(h, copy);
      h = copy;
    }
    part(h, workspaces_[worker], observer);
    const std::lock_guard lock(mutex);
    if (on_sample) on_sample();
  });
}

void Calibrator::Run(const Part& part, const Pass& pass,
                     std::array<InputStatistics, kTaps>& statistics,
                     const std::function<void()>& on_sample) {
  for (const Tap tap : pass.taps) {
    InputStatistics& of_tap = statistics[static_cast<size_t>(tap)];
    of_tap = EmptyStatistics(pass.layout.Channels(tap), pass.needs);
    of_tap.tokens = samples() * tokens_;
    if (pass.needs.kept) of_tap.kept.resize(std::min(kKeptSamples, samples()));
  }
  const std::vector<GramStripe> stripes =
      pass.needs.gram ? GramStripes(pass.layout, pass.taps) : std::vector<GramStripe>();
  Batch batch;
  for (batch.first = 0; batch.first < samples(); batch.first += kSampleBatch) {
    batch.count = std::min(kSampleBatch, samples() - batch.first);
    for (auto& inputs : batch.inputs) inputs.resize(batch.count);
    Clock::time_point start = Clock::now();
    Forward(part, pass, batch, statistics, on_sample);
    forward_seconds_ += Since(start);
    start = Clock::now();
    for (const Tap tap : pass.taps) {
      const size_t at = static_cast<size_t>(tap);
      for (size_t i = 0; i < batch.count; ++i) batch.partials[at][i].AddTo(statistics[at]);
    }
    ParallelFor(stripes.size(), threads_, [&](size_t i, size_t) {
      AddStripe(batch.inputs[stripes[i].tap], stripes[i], statistics[stripes[i].tap].gram);
    });
    statistics_seconds_ += Since(start);
  }
  for (const Tap tap : pass.taps) {
    InputStatistics& of_tap = statistics[static_cast<size_t>(tap)];
    for (double& mean : of_tap.channel_mean) mean /= static_cast<double>(of_tap.tokens);
    MirrorUpperTriangle(of_tap.gram);
  }
}

}  // namespace quantref
