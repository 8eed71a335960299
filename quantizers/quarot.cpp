#include "quantizers/quarot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>

#include "harness/base/cancel.h"
#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/base/parallel.h"
#include "harness/base/rng.h"
#include "harness/kernels/hadamard_matrix.h"

namespace quantref {
namespace {

constexpr std::array kQuaRotKnobs = {
    Knob{"seed", "of the random signs", Knob::Kind::kCount, 0, 0, 4294967295},
    Knob{"block", "channels that are rotated together; 0: all", Knob::Kind::kCount, 0, 0, 65536},
    Knob{"residual", "rotates the residual stream, norms folded into what reads them",
         Knob::Kind::kFlag, 1},
    Knob{"online", "rotates what o and down read, while it is computed", Knob::Kind::kFlag, 1},
};

bool IsKnownOrder(size_t order) { return HadamardCore(order).has_value(); }

[[noreturn]] void RefuseRotation(const std::string& problem, const std::string& hint) {
  throw Error(problem, "quarot", hint);
}

// Of n channels, all together or block by block.
Rotation RotationOf(size_t channels, size_t block, const char* what) {
  const size_t order = block == 0 ? channels : block;
  if (channels % order != 0) {
    RefuseRotation(
        fmt::format("blocks of {} do not divide the {} channels of {}", block, channels, what),
        "choose another quarot.block");
  }
  if (!IsKnownOrder(order)) {
    RefuseRotation(
        fmt::format("no Hadamard matrix of order {} is known, for the {} channels of {}", order,
                    channels, what),
        "set quarot.block to a power of 2 that divides them, or leave these out (residual, online)");
  }
  return {order};
}

// How what o reads is rotated: in each head by v's rows, and then online.
struct HeadRotation {
  Rotation within{}, online{};
};

HeadRotation HeadRotationOf(const ModelConfig& config, size_t block, bool online) {
  const size_t dim = config.head_dim, heads = config.heads;
  if (block > 0 && dim % block == 0 && IsKnownOrder(block)) return {.within = {block}};
  const bool by_head = IsKnownOrder(dim) && (block == 0 || block % dim == 0);
  if (!online) return by_head ? HeadRotation{.within = {dim}} : HeadRotation{};
  const size_t together = block == 0 ? heads : block / dim;  // heads that are mixed
  if (by_head && IsKnownOrder(together) && heads % together == 0) return {{dim}, {together, dim}};
  return {.online = RotationOf(heads * dim, block, "the heads")};
}

struct RotationPlan {
  std::optional<Rotation> residual;
  HeadRotation heads;
  Rotation hidden{};  // of the MLP

  RotationPlan(const ModelConfig& config, const Knobs& knobs) {
    const size_t block = knobs.Count("block");
    const bool online = knobs.Flag("online");
    if (knobs.Flag("residual")) {
      if (config.family->post_norms) {
        RefuseRotation(
            fmt::format("the residual stream of {} cannot be rotated: it has norms behind "
                        "attention and MLP, whose gains do not commute with a rotation",
                        config.model_type),
            "quarot.residual: false rotates inside the blocks alone");
      }
      residual = RotationOf(config.hidden, block, "the residual stream");
    }
    heads = HeadRotationOf(config, block, online);
    if (online) hidden = RotationOf(config.intermediate, block, "the MLP");
  }
};

void MultiplyColumns(std::span<const float> factors, MatrixView<float> w) {
  for (size_t r = 0; r < w.rows(); ++r) {
    for (size_t c = 0; c < w.cols(); ++c) w(r, c) *= factors[c];
  }
}

// The model's residual stream, whose vectors h become R h.
class ResidualStream {
 public:
  ResidualStream(const Rotation& rotation, size_t channels, uint64_t seed, bool centre)
      : rotation_(rotation), signs_(channels), centre_(centre) {
    Rng rng(seed);
    for (float& sign : signs_) sign = rng.Below(2) == 0 ? 1.0f : -1.0f;
  }

  // Rows that are vectors of the stream, or are multiplied with such.
  void RotateRows(MatrixView<float> rows) const {
    std::vector<float> scratch;
    MultiplyColumns(signs_, rows);
    ApplyRotation(rotation_, rows, scratch);
  }
  // Rows that are added to it.
  void RotateWritten(MatrixView<float> rows) const {
    for (size_t r = 0; r < rows.rows() && centre_; ++r) Centre(rows.row_span(r));
    RotateRows(rows);
  }
  // A matrix that writes to it, and its bias.
  void RotateWriter(MatrixView<float> w, std::vector<float>& bias) const {
    if (centre_) CentreColumns(w);
    for (size_t r = 0; r < w.rows(); ++r) {
      for (float& value : w.row_span(r)) value *= signs_[r];
    }
    RotateColumns(rotation_, w, 1);
    if (!bias.empty()) RotateWritten({bias.data(), 1, bias.size()});
  }

 private:
  static void Centre(std::span<float> values) {
    double sum = 0;
    for (const float value : values) sum += static_cast<double>(value);
    const auto mean = static_cast<float>(sum / static_cast<double>(values.size()));
    for (float& value : values) value -= mean;
  }
  static void CentreColumns(MatrixView<float> w) {
    std::vector<double> means(w.cols());
    for (size_t r = 0; r < w.rows(); ++r) {
      for (size_t c = 0; c < w.cols(); ++c) means[c] += static_cast<double>(w(r, c));
    }
    for (double& mean : means) mean /= static_cast<double>(w.rows());
    for (size_t r = 0; r < w.rows(); ++r) {
      for (size_t c = 0; c < w.cols(); ++c) w(r, c) -= static_cast<float>(means[c]);
    }
  }

  const Rotation rotation_;
  std::vector<float> signs_;
  const bool centre_;
};

// A norm's gain and bias go into a matrix that reads it.
void FoldNorm(std::span<const float> gain, std::span<const float> norm_bias, MatrixView<float> w,
              std::vector<float>& bias) {
  if (!norm_bias.empty()) {
    bias.resize(w.rows(), 0.0f);
    for (size_t r = 0; r < w.rows(); ++r) {
      double sum = static_cast<double>(bias[r]);
      for (size_t c = 0; c < w.cols(); ++c)
        sum += static_cast<double>(w(r, c)) * static_cast<double>(norm_bias[c]);
      bias[r] = static_cast<float>(sum);
    }
  }
  MultiplyColumns(gain, w);
}

// One block, all of whose linears are changed beside each other.
class BlockRotator {
 public:
  BlockRotator(const ModelConfig& config, const RotationPlan& plan, const ResidualStream* stream,
               BlockWeights& block)
      : config_(config), plan_(plan), stream_(stream), block_(block) {}

  void Rotate(const LinearRow& row) const {
    const bool reads = row.tap == Tap::kAttentionInput || row.tap == Tap::kMlpInput;
    const LinearRows values = ValueRows(config_);
    const bool gives_values = values.linear == row.index && plan_.heads.within.order > 1;
    if (stream_ == nullptr && reads && !gives_values) return;
    Linear& linear = block_.linears[row.index];
    Matrix<float> w = linear.weight.Decode();
    if (reads && stream_ != nullptr) Read(row.tap, w.view(), linear.bias);
    if (gives_values) RotateValues(values.first, w.view(), linear.bias);
    std::vector<float> scratch;
    if (row.tap == Tap::kAttentionOutput) {
      ApplyRotation(plan_.heads.within, w.view(), scratch);
      ApplyRotation(plan_.heads.online, w.view(), scratch);
    }
    if (row.tap == Tap::kMlpHidden) ApplyRotation(plan_.hidden, w.view(), scratch);
    if (!reads && stream_ != nullptr) stream_->RotateWriter(w.view(), linear.bias);
    linear.weight = Weight(std::move(w));
  }

  // When all linears have been rotated.
  void ForgetNorms() const {
    for (const NormIndex norm : {kAttentionNorm, kMlpNorm}) {
      std::fill(block_.norms[norm].begin(), block_.norms[norm].end(), 1.0f);
      block_.norm_biases[norm].clear();
    }
  }

 private:
  void Read(Tap tap, MatrixView<float> w, std::vector<float>& bias) const {
    const NormIndex norm = tap == Tap::kAttentionInput ? kAttentionNorm : kMlpNorm;
    FoldNorm(block_.norms[norm], block_.norm_biases[norm], w, bias);
    stream_->RotateRows(w);
  }
  void RotateValues(size_t first, MatrixView<float> w, std::vector<float>& bias) const {
    const size_t count = config_.kv_heads * config_.head_dim;
    RotateColumns(plan_.heads.within, w.Rows(first, count), 1);
    std::vector<float> scratch;
    if (!bias.empty()) ApplyRotation(plan_.heads.within, {bias.data() + first, 1, count}, scratch);
  }

  const ModelConfig& config_;
  const RotationPlan& plan_;
  const ResidualStream* const stream_;
  BlockWeights& block_;
};

// Many rows, in parallel.
template <typename F>
void ForRows(MatrixView<float> w, size_t threads, const F& body) {
  constexpr size_t kRows = 256;
  ParallelFor((w.rows() + kRows - 1) / kRows, threads, [&](size_t tile, size_t) {
    const size_t first = tile * kRows;
    body(w.Rows(first, std::min(kRows, w.rows() - first)));
  });
}

// What stands before and behind the blocks.
void RotateEnds(const ResidualStream& stream, size_t threads, ModelWeights& weights) {
  Matrix<float> head = weights.head.weight.Decode();
  FoldNorm(weights.final_norm, weights.final_norm_bias, head.view(), weights.head.bias);
  ForRows(head.view(), threads, [&](MatrixView<float> rows) { stream.RotateRows(rows); });
  Matrix<float> embedding = weights.embedding.weight.Decode();
  const auto write = [&](MatrixView<float> rows) { stream.RotateWritten(rows); };
  ForRows(embedding.view(), threads, write);
  if (weights.positions != nullptr) {
    const Matrix<float>& before = *weights.positions;
    Matrix<float> positions(before.rows(), before.cols());
    std::copy_n(before.data(), before.rows() * before.cols(), positions.data());
    ForRows(positions.view(), threads, write);
    weights.positions = std::make_shared<const Matrix<float>>(std::move(positions));
  }
  weights.head.weight = Weight(std::move(head));
  weights.embedding.weight = Weight(std::move(embedding));
  std::fill(weights.final_norm.begin(), weights.final_norm.end(), 1.0f);
  weights.final_norm_bias.clear();
}

}  // namespace

std::span<const Knob> QuaRot::knobs() const { return kQuaRotKnobs; }

ModelConfig QuaRot::Reshape(const ModelConfig& config, const Knobs& knobs) const {
  const RotationPlan plan(config, knobs);
  ModelConfig after = config;
  if (plan.residual) after.tied_head = false;
  for (LayerConfig& layer : after.layers) {
    layer.attention_rotation = plan.heads.online;
    layer.mlp_rotation = plan.hidden;
  }
  return after;
}

void QuaRot::Apply(const ModelConfig& config, const Knobs& knobs, size_t threads,
                   ModelWeights& weights) const {
  const RotationPlan plan(config, knobs);
  std::optional<ResidualStream> stream;
  if (plan.residual) {
    stream.emplace(*plan.residual, config.hidden, knobs.Count("seed"),
                   config.family->norm == Family::Norm::kLayer);
  }
  for (size_t layer = 0; layer < weights.blocks.size(); ++layer) {
    const BlockLayout layout = LayoutOf(config, layer);
    const BlockRotator rotator(config, plan, stream ? &*stream : nullptr, weights.blocks[layer]);
    ParallelFor(layout.linears.size(), threads,
                [&](size_t i, size_t) { rotator.Rotate(layout.linears[i]); });
    if (stream) rotator.ForgetNorms();
  }
  if (stream) RotateEnds(*stream, threads, weights);
}

}  // namespace quantref
