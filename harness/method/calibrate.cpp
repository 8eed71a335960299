#include "harness/method/calibrate.h"

#include <algorithm>
#include <cmath>
#include <mutex>

#include "harness/base/check.h"
#include "harness/base/clock.h"
#include "harness/base/parallel.h"
#include "harness/io/binary.h"
#include "harness/method/round_linear.h"
#include "harness/model/transformer.h"

namespace quantref {
namespace {

void CopyRows(MatrixView<const float> from, MatrixView<float> to) {
  for (size_t t = 0; t < to.rows(); ++t) std::copy_n(from.row(t), from.cols(), to.row(t));
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

// Pieces of a pass's sums: its stripes; behind them what is known of the channels of each tap; and
// what is kept of its samples.
size_t PieceOfChannels(size_t stripes, size_t tap) { return stripes + tap; }
size_t PieceOfKept(const Calibrator::Pass& pass, size_t stripes, size_t tap, size_t sample) {
  return stripes + pass.taps.size() + tap * kKeptSamples + sample;
}
size_t PiecesOf(const Calibrator::Pass& pass, size_t stripes) {
  return PieceOfKept(pass, stripes, pass.taps.size(), 0);
}

SumPiece ChannelPiece(InputStatistics& statistics) {
  return {BytesIn(statistics.channel_max.data(), statistics.channel_max.size()),
          BytesIn(statistics.channel_mean.data(), statistics.channel_mean.size())};
}

SumPiece PieceIn(const GramStripe& stripe, std::array<InputStatistics, kTaps>& statistics) {
  InputStatistics& of_tap = statistics[stripe.tap];
  return PieceOf(stripe, stripe.cross ? of_tap.cross : of_tap.gram);
}

std::string BytesOfKept(const Matrix<float>& kept) {
  std::string bytes;
  Put(bytes, uint64_t{kept.rows()});
  Put(bytes, uint64_t{kept.cols()});
  bytes.append(reinterpret_cast<const char*>(kept.data()),
               kept.rows() * kept.cols() * sizeof(float));
  return bytes;
}

Matrix<float> KeptIn(std::string_view bytes) {
  uint64_t rows = 0, cols = 0;
  QR_CHECK(Take(bytes, rows) && Take(bytes, cols) && bytes.size() == rows * cols * sizeof(float));
  Matrix<float> kept(rows, cols);
  std::copy_n(bytes.data(), bytes.size(), reinterpret_cast<char*>(kept.data()));
  return kept;
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
  size_t first = 0, count = 0;  // samples
  size_t place = 0;             // of the first in the stores
  std::array<std::array<Partial, kSampleBatch>, kTaps> partials;
  std::array<std::vector<Matrix<float>>, kTaps> inputs;       // for the Gram matrices
  std::array<std::vector<Matrix<float>>, kTaps> differences;  // the reference's less these
};

Calibrator::Calibrator(const ModelConfig& config, const ModelWeights& weights,
                       const CalibrationData& data, const TextRead& read, size_t threads,
                       size_t memory, SampleShare* share)
    : config_(config),
      data_(data),
      tokens_(read.length),
      threads_(threads),
      share_(share),
      blocks_(read.samples, kSampleBatch, share),
      own_(blocks_.OwnSamples()),
      store_(own_.size(), tokens_, config.hidden, memory),
      memory_(memory),
      workspaces_(threads),
      scratch_(threads) {
  QR_CHECK_LE(read.samples, data.samples.size());
  EmbedInto(weights, store_);
}

void Calibrator::EmbedInto(const ModelWeights& weights, const ActivationStore& store) const {
  for (size_t place = 0; place < own_.size(); ++place) {
    const std::vector<uint32_t>& sample = data_.samples[own_[place]];
    QR_CHECK_EQ(sample.size(), data_.samples[0].size());
    Embed(config_, weights, std::span(sample).first(tokens_), store.sample(place));
  }
}

void Calibrator::Accompany(const ModelWeights& reference) {
  EmbedInto(reference, reference_.emplace(own_.size(), tokens_, config_.hidden, memory_));
}

void Calibrator::AdvanceReference(const Part& part) {
  QR_CHECK(accompanied());
  ParallelFor(own_.size(), threads_, [&](size_t place, size_t worker) {
    part(reference_->sample(place), workspaces_[worker], {});
  });
}

Calibrator::Calibrator(const Calibrator& other)
    : config_(other.config_),
      data_(other.data_),
      tokens_(other.tokens_),
      threads_(other.threads_),
      share_(other.share_),
      blocks_(other.blocks_),
      own_(other.own_),
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
void Calibrator::ForwardReference(const Pass& pass, size_t worker, Batch& batch, size_t i) {
  const Observer observer = [&](Tap tap, MatrixView<const float> x) {
    const size_t at = static_cast<size_t>(tap);
    if (!pass.crosses[at]) return;
    Matrix<float>& difference = batch.differences[at][i];
    CopyRows(x, Shaped(difference, x.rows(), x.cols()));
    SubtractFrom(difference.view(), batch.inputs[at][i].view());
  };
  pass.reference(ScratchCopy(reference_->sample(batch.place + i), worker), workspaces_[worker],
                 observer);
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
    const MatrixView<float> h = store_.sample(batch.place + i);
    part(pass.advance ? h : ScratchCopy(h, worker), workspaces_[worker], observer);
    if (pass.reference) ForwardReference(pass, worker, batch, i);
    const std::lock_guard lock(mutex);
    if (on_sample) on_sample();
  });
}

// Adds what the block's samples give.
void Calibrator::Sum(const Pass& pass, const std::vector<GramStripe>& stripes, size_t block,
                     const Batch& batch, SumChain& chain,
                     std::array<InputStatistics, kTaps>& statistics) {
  for (size_t tap = 0; tap < pass.taps.size(); ++tap) {
    const size_t at = static_cast<size_t>(pass.taps[tap]);
    chain.Add(
        block, PieceOfChannels(stripes.size(), tap), [&] { return ChannelPiece(statistics[at]); },
        [&] {
          for (size_t i = 0; i < batch.count; ++i) batch.partials[at][i].AddTo(statistics[at]);
        });
  }
  ParallelFor(stripes.size(), threads_, [&](size_t i, size_t) {
    const GramStripe& stripe = stripes[i];
    const std::vector<Matrix<float>>& inputs = batch.inputs[stripe.tap];
    InputStatistics& of_tap = statistics[stripe.tap];
    chain.Add(
        block, i, [&] { return PieceIn(stripe, statistics); },
        [&] {
          stripe.cross ? AddCrossStripe(inputs, batch.differences[stripe.tap], stripe, of_tap.cross)
                       : AddStripe(inputs, stripe, of_tap.gram);
        });
  });
}

// Gives all processes what the last of them has, and what is kept of each one's samples.
void Calibrator::Spread(const Pass& pass, const std::vector<GramStripe>& stripes, SumChain& chain,
                        std::array<InputStatistics, kTaps>& statistics) const {
  for (size_t i = 0; i < stripes.size(); ++i)
    chain.SpreadSum(i, [&] { return PieceIn(stripes[i], statistics); });
  for (size_t tap = 0; tap < pass.taps.size(); ++tap) {
    InputStatistics& of_tap = statistics[static_cast<size_t>(pass.taps[tap])];
    chain.SpreadSum(PieceOfChannels(stripes.size(), tap), [&] { return ChannelPiece(of_tap); });
    for (size_t sample = 0; sample < of_tap.kept.size(); ++sample) {
      Matrix<float>& kept = of_tap.kept[sample];
      chain.Spread(
          blocks_.OwnerOfSample(sample), PieceOfKept(pass, stripes.size(), tap, sample),
          [&] { return BytesOfKept(kept); }, [&](std::string_view bytes) { kept = KeptIn(bytes); });
    }
  }
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
  const std::vector<GramStripe> stripes =
      GramStripesOf(pass.layout, pass.taps, pass.grams, pass.crosses);
  SumChain chain(share_, blocks_, PiecesOf(pass, stripes.size()));
  Seconds seconds;
  Batch batch;
  for (size_t block = 0; block < blocks_.count(); ++block) {
    batch.first = blocks_.First(block);
    batch.count = blocks_.Size(block);
    if (!blocks_.Owns(block)) {
      for (size_t i = 0; i < batch.count && on_sample; ++i) on_sample();
      continue;
    }
    for (auto* of_taps : {&batch.inputs, &batch.differences}) {
      for (auto& inputs : *of_taps) inputs.resize(batch.count);
    }
    Clock::time_point start = Clock::now();
    Forward(part, pass, batch, statistics, on_sample);
    seconds.forward += Since(start);
    start = Clock::now();
    Sum(pass, stripes, block, batch, chain, statistics);
    seconds.statistics += Since(start);
    batch.place += batch.count;
  }
  const Clock::time_point start = Clock::now();
  Spread(pass, stripes, chain, statistics);
  seconds.statistics += Since(start);
  for (const Tap tap : pass.taps) {
    InputStatistics& of_tap = statistics[static_cast<size_t>(tap)];
    for (double& mean : of_tap.channel_mean) mean /= static_cast<double>(of_tap.tokens);
    MirrorUpperTriangle(of_tap.gram);
  }
  return seconds;
}

}  // namespace quantref
