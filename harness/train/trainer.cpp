#include "harness/train/trainer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "harness/base/check.h"
#include "harness/base/copy_matrix.h"
#include "harness/base/error.h"
#include "harness/base/setting_error.h"
#include "harness/model/layout.h"
#include "harness/model/ops.h"
#include "harness/model/plan_model.h"
#include "harness/quant/grid.h"
#include "harness/train/elementwise.h"

namespace quantref {
namespace {

std::span<const float> ValuesOf(const Parameter& vector) {
  return {vector.value.data(), vector.value.cols()};
}

std::vector<float> VectorOf(const Parameter& vector) {
  const std::span<const float> values = ValuesOf(vector);
  return {values.begin(), values.end()};
}

void CopyHidden(const Matrix<float>& from, MatrixView<float> to, Team* team) {
  ForTokens(team, from.rows(), [&](size_t t) { std::copy_n(from.row(t), from.cols(), to.row(t)); });
}

}  // namespace

void CheckTrainedPlan(const std::vector<PlannedLinear>& plan) {
  for (const PlannedLinear& linear : plan) {
    const bool outside = linear.shape.name == kEmbeddingName || linear.shape.name == kHeadName;
    if (!outside || !linear.scheme) continue;
    throw Error("a model whose embedding or head is quantized cannot be trained", linear.shape.name,
                "keep embed_tokens and lm_head");
  }
}

namespace {

double AsDouble(size_t n) { return static_cast<double>(n); }

// Numbers that a thread has to itself: a tile's scores and their gradient, a head's keys and values
// once more, and a window of the reference on its way.
double NumbersOfThread(const ModelConfig& config, const TrainSpec& spec, size_t heads) {
  double of_token = 2 * AsDouble(kQueryTile) + 2 * AsDouble(config.head_dim);
  if (spec.loss == TrainingLoss::kKl)
    of_token +=
        4 * AsDouble(config.hidden) + 2 * AsDouble(config.intermediate) + 4 * AsDouble(heads);
  return of_token * AsDouble(spec.length);
}

}  // namespace

double TrainingBytes(const ModelConfig& config, const std::vector<PlannedLinear>& plan,
                     const TrainSpec& spec, size_t threads) {
  const BatchShape batch{spec.batch, spec.length};
  const BlockLayout layout = LayoutOf(config, 0);
  const double layers = AsDouble(config.layers.size()), tokens = AsDouble(batch.tokens());
  // Value, gradient, two moments and the rounded value; the head's, with the embedding's. With
  // adapters theirs but for the last, and one block composed, with its gradient.
  const double trained =
      spec.lora ? 4 * AsDouble(LoraParameters(*spec.lora, plan)) + 2 * AsDouble(layout.Weights())
                : 5 * layers * AsDouble(layout.Weights());
  const double weights = trained + 4 * 2 * AsDouble(config.vocab * config.hidden);
  const size_t heads = layout.Channels(Tap::kAttentionOutput);
  const double of_token = AsDouble(config.hidden) * (layers + 1 + 10) +
                          5 * AsDouble(config.intermediate) + 8 * AsDouble(heads);
  const double logits = AsDouble(LogitsAtATime(config.vocab, batch.tokens())) *
                        AsDouble(config.vocab) * (spec.loss == TrainingLoss::kKl ? 2 : 1);
  return 4 * (weights + tokens * of_token + logits +
              AsDouble(threads) * NumbersOfThread(config, spec, heads));
}

BlockValues Trainer::Block::Values() const {
  BlockValues values;
  for (size_t n = 0; n < kNorms; ++n) values.norms[n] = ValuesOf(norms[n]);
  for (size_t i = 0; i < kLinears; ++i) {
    values.weights[i] = schemes[i] != nullptr ? rounded[i].view() : weights[i].value.view();
    values.biases[i] = ValuesOf(biases[i]);
  }
  return values;
}

BlockGradients Trainer::Block::Gradients() {
  BlockGradients gradients;
  const auto of_vector = [](Parameter& vector) {
    return std::span<float>(vector.gradient.data(), vector.gradient.cols());
  };
  for (size_t n = 0; n < kNorms; ++n) gradients.norms[n] = of_vector(norms[n]);
  for (size_t i = 0; i < kLinears; ++i) {
    gradients.weights[i] = weights[i].gradient.view();
    gradients.biases[i] = of_vector(biases[i]);
  }
  return gradients;
}

Trainer::Trainer(const ModelConfig& config, const ModelWeights& reference,
                 const ModelWeights& start, const std::vector<PlannedLinear>& plan,
                 const TrainSpec& spec, Team* team, Trained trained)
    : config_(config),
      spec_(spec),
      batch_{spec.batch, spec.length},
      team_(team),
      rotations_(config, spec.length),
      start_(start),
      reference_(config, reference, spec.length),
      trains_all_(trained == Trained::kAll),
      work_(team) {
  QR_CHECK(spec.warmup < spec.steps && spec.length > 1);
  QR_CHECK(!(spec.lora && trains_all_));
  CheckTrainable(config);
  CheckTrainedPlan(plan);
  blocks_.resize(start.blocks.size());
  for (size_t layer = 0; layer < blocks_.size(); ++layer) MakeBlock(layer, plan);
  if (spec.lora) MakeAdapters(plan);
  MakeOutside(trained);
  for (size_t i = 0; i <= blocks_.size(); ++i) inputs_.emplace_back(batch_.tokens(), config.hidden);
  reference_work_.resize(TeamThreads(team));
}

void Trainer::MakeBlock(size_t layer, const std::vector<PlannedLinear>& plan) {
  const BlockWeights& from = start_.blocks[layer];
  const BlockPlan planned = PlanOfBlock(config_, plan, layer);
  Block& block = blocks_[layer];
  for (const NormRow& norm : planned.layout.norms) {
    block.norms[norm.index] =
        MakeParameter(NameInModel(layer, norm.name), std::span(from.norms[norm.index]));
    if (!spec_.lora) Train(block.norms[norm.index]);
  }
  for (const LinearRow& row : planned.layout.linears) {
    const Linear& linear = from.linears[row.index];
    if (row.bias)
      block.biases[row.index] = MakeParameter(linear.name + ".bias", std::span(linear.bias));
    if (spec_.lora) continue;
    block.weights[row.index] = MakeParameter(linear.name, linear.weight.Decode().view(), true);
    MakeLinear(row, planned[row.index], block);
  }
}

void Trainer::MakeLinear(const LinearRow& row, const PlannedLinear& planned, Block& block) {
  Parameter& weight = block.weights[row.index];
  Train(weight);
  if (row.bias) Train(block.biases[row.index]);
  if (!planned.scheme) return;
  block.schemes[row.index] = &*planned.scheme;
  block.rounded[row.index] = Matrix<float>(row.rows, row.cols);
  if (spec_.scales != TrainedScales::kLearned) return;
  block.scales[row.index] = MakeLearnedScales(weight.name, weight.value.view(), *planned.scheme);
  Train(block.scales[row.index].scale);
}

void Trainer::MakeAdapters(const std::vector<PlannedLinear>& plan) {
  CheckTargets(*spec_.lora, plan);
  Rng rng(spec_.seed);
  for (size_t layer = 0; layer < blocks_.size(); ++layer) {
    const BlockPlan planned = PlanOfBlock(config_, plan, layer);
    for (const LinearRow& row : planned.layout.linears) {
      const PlannedLinear& linear = planned[row.index];
      if (!HasAdapter(*spec_.lora, linear)) continue;
      LoraPair& pair = blocks_[layer].adapters[row.index];
      pair = MakeLoraPair(linear.shape.name, row.rows, row.cols, spec_.lora->rank, rng);
      Train(pair.a);
      Train(pair.b);
    }
  }
}

BlockValues Trainer::ValuesOfBlock(size_t layer) {
  Block& block = blocks_[layer];
  BlockValues values = block.Values();
  if (!spec_.lora) return values;
  struct Piece {
    size_t linear, first, count;
  };
  std::vector<Piece> pieces;
  for (const LinearRow& row : LayoutOf(config_, layer).linears) {
    values.weights[row.index] = Shaped(composed_[row.index], row.rows, row.cols);
    for (size_t first = 0; first < row.rows; first += kRowTile)
      pieces.push_back(
          {static_cast<size_t>(row.index), first, std::min(kRowTile, row.rows - first)});
  }
  RunOn(team_, pieces.size(), [&](size_t i, size_t) {
    const auto& [linear, first, count] = pieces[i];
    ComposeRows(start_.blocks[layer].linears[linear].weight, block.adapters[linear],
                spec_.lora->Scale(), first, composed_[linear].view().Rows(first, count));
  });
  return values;
}

BlockGradients Trainer::GradientsOfBlock(size_t layer) {
  Block& block = blocks_[layer];
  BlockGradients gradients = block.Gradients();
  if (!spec_.lora) return gradients;
  for (const LinearRow& row : LayoutOf(config_, layer).linears) {
    if (!block.adapters[row.index].empty())
      gradients.weights[row.index] = Shaped(composed_gradients_[row.index], row.rows, row.cols);
  }
  return gradients;
}

// From gradients of what the block was computed with to those of what is trained.
void Trainer::FinishGradients(size_t layer) {
  Block& block = blocks_[layer];
  RunOn(team_, kLinears, [&](size_t i, size_t) {
    if (!block.adapters[i].empty())
      LoraBackward(composed_gradients_[i].view(), spec_.lora->Scale(), block.adapters[i]);
    if (block.scales[i].empty()) return;
    ScalesBackward(block.weights[i].value.view(), *block.schemes[i], block.scales[i],
                   block.weights[i].gradient.view());
  });
}

void Trainer::MakeOutside(Trained trained) {
  final_norm_ = MakeParameter("norm", std::span(start_.final_norm));
  head_ = MakeParameter(kHeadName, start_.head.weight.Decode().view(), true);
  if (!HeadIsTied(start_))
    embedding_ = MakeParameter(kEmbeddingName, start_.embedding.weight.Decode().view(), true);
  if (trained == Trained::kBlocks) return;
  if (spec_.loss == TrainingLoss::kKl) reference_head_ = reference_.weights().head.weight.Decode();
  for (Parameter* parameter : {&final_norm_, &head_, &embedding_})
    if (!parameter->empty()) parameters_.push_back(parameter);
}

void Trainer::RoundWeights() {
  RunOn(team_, blocks_.size() * kLinears, [&](size_t index, size_t) {
    Block& block = blocks_[index / kLinears];
    const size_t i = index % kLinears;
    if (block.schemes[i] == nullptr) return;
    const MatrixView<const float> values = block.weights[i].value.view();
    if (block.scales[i].empty())
      return RoundValues(values, *block.schemes[i], {}, block.rounded[i].view());
    RoundByScales(values, *block.schemes[i], block.scales[i], block.rounded[i].view());
  });
}

void Trainer::ForwardBlocks(std::span<const uint32_t> ids) {
  const Parameter& table = embedding_.empty() ? head_ : embedding_;
  ForTokens(team_, ids.size(), [&](size_t t) {
    std::copy_n(table.value.row(ids[t]), config_.hidden, inputs_[0].row(t));
  });
  for (size_t layer = 0; layer < blocks_.size(); ++layer) {
    CopyHidden(inputs_[layer], inputs_[layer + 1].view(), team_);
    BatchForward(config_, layer, rotations_, ValuesOfBlock(layer), batch_,
                 inputs_[layer + 1].view(), work_);
  }
}

void Trainer::MakeReferenceHidden(std::span<const uint32_t> ids) {
  const MatrixView<float> all = Shaped(reference_hidden_, batch_.tokens(), config_.hidden);
  RunOn(team_, batch_.windows, [&](size_t w, size_t worker) {
    const Matrix<float> hidden =
        reference_.Hidden(ids.subspan(w * batch_.length, batch_.length), reference_work_[worker]);
    CopyHidden(hidden, all.Rows(w * batch_.length, batch_.length), nullptr);
  });
}

// Leaves the gradient of the last block's output in dh_.
double Trainer::BackwardHead(std::span<const uint32_t> ids) {
  const size_t tokens = batch_.tokens(), hidden = config_.hidden;
  const std::span<const float> gain = ValuesOf(final_norm_);
  const MatrixView<float> normed = Shaped(normed_, tokens, hidden);
  RmsNorm(inputs_.back().view(), gain, config_.rms_eps, normed, team_);
  HeadInput reference{};
  if (spec_.loss == TrainingLoss::kKl) {
    MakeReferenceHidden(ids);
    reference = {reference_hidden_.view(),
                 reference_head_.rows() > 0 ? reference_head_.view() : head_.value.view()};
  }
  const MatrixView<float> d_normed = Shaped(d_normed_, tokens, hidden);
  const double loss =
      HeadBackward(spec_.loss, {normed, head_.value.view()}, &reference, ids, batch_, d_normed,
                   trains_all_ ? head_.gradient.view() : MatrixView<float>(), loss_work_, team_);
  const MatrixView<float> dh = Shaped(dh_, tokens, hidden);
  Matrix<float> parts((tokens + kTokenTile - 1) / kTokenTile, hidden);
  std::fill_n(parts.data(), parts.rows() * hidden, 0.0f);
  ForTokenTiles(team_, tokens, [&](size_t first, size_t count, size_t) {
    for (size_t t = first; t < first + count; ++t) std::fill_n(dh.row(t), hidden, 0.0f);
    RmsNormBackward(inputs_.back().view().Rows(first, count), gain, config_.rms_eps,
                    d_normed.Rows(first, count), dh.Rows(first, count),
                    {parts.row(first / kTokenTile), hidden});
  });
  SumRows(parts.view(), {final_norm_.gradient.data(), hidden});
  return loss;
}

double Trainer::Backward(std::span<const uint32_t> ids) {
  QR_CHECK_EQ(ids.size(), batch_.tokens());
  RoundWeights();
  ForwardBlocks(ids);
  const double loss = BackwardHead(ids);
  for (size_t layer = blocks_.size(); layer-- > 0;) {
    BatchBackward(config_, layer, rotations_, ValuesOfBlock(layer), batch_, inputs_[layer].view(),
                  dh_.view(), GradientsOfBlock(layer), work_);
    FinishGradients(layer);
  }
  if (!trains_all_) return loss;
  if (!embedding_.empty())
    std::fill_n(embedding_.gradient.data(), embedding_.value.rows() * config_.hidden, 0.0f);
  Parameter& table = embedding_.empty() ? head_ : embedding_;
  EmbeddingBackward(ids, dh_.view(), table.gradient.view());
  return loss;
}

double Trainer::Step(std::span<const uint32_t> ids) {
  const double loss = Backward(ids);
  ++steps_done_;
  if (!std::isfinite(loss)) {
    throw SettingError(fmt::format("the loss of training is not finite at step {} of {}",
                                   steps_done_, spec_.steps),
                       "rate", "lower it");
  }
  AdamWStep(spec_.adamw, spec_.rate * RateShare(steps_done_, spec_.steps, spec_.warmup),
            steps_done_, parameters_, team_);
  return loss;
}

ModelWeights Trainer::Weights() const {
  ModelWeights weights = start_;
  for (size_t layer = 0; layer < blocks_.size(); ++layer) {
    const Block& from = blocks_[layer];
    BlockWeights& to = weights.blocks[layer];
    for (size_t n = 0; n < kNorms; ++n)
      if (!from.norms[n].empty()) to.norms[n] = VectorOf(from.norms[n]);
    for (size_t i = 0; i < kLinears; ++i) {
      const Parameter& weight = from.weights[i];
      if (!from.adapters[i].empty()) FinishAdapter(*spec_.lora, from.adapters[i], to.linears[i]);
      if (weight.empty()) continue;
      to.linears[i].weight = from.schemes[i] != nullptr
                                 ? Weight(CopyOf(weight.value))
                                 : Weight::RoundedToHalf(weight.value.view(), weight.name);
      if (!from.biases[i].empty()) to.linears[i].bias = VectorOf(from.biases[i]);
    }
  }
  if (!trains_all_) return weights;
  weights.final_norm = VectorOf(final_norm_);
  weights.head.weight = Weight::RoundedToHalf(head_.value.view(), kHeadName);
  weights.embedding.weight = embedding_.empty()
                                 ? weights.head.weight
                                 : Weight::RoundedToHalf(embedding_.value.view(), kEmbeddingName);
  return weights;
}

std::map<std::string, PackedMatrix> Trainer::LearnedCodes() const {
  std::map<std::string, PackedMatrix> codes;
  for (const Block& block : blocks_) {
    for (size_t i = 0; i < kLinears; ++i) {
      if (block.scales[i].empty()) continue;
      const Parameter& weight = block.weights[i];
      codes.emplace(weight.name,
                    PackByScales(weight.value.view(), *block.schemes[i], block.scales[i]));
    }
  }
  return codes;
}

}  // namespace quantref
