#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/base/matrix.h"
#include "harness/base/team.h"
#include "harness/io/file_pieces.h"
#include "harness/model/transformer.h"
#include "harness/quant/plan.h"
#include "harness/train/adamw.h"
#include "harness/train/learned_scales.h"
#include "harness/train/lora.h"
#include "harness/train/loss.h"
#include "harness/train/train_block.h"

namespace quantref {

// Scales of weights that are rounded while they are trained: chosen anew before each step, or
// trained too.
enum class TrainedScales { kRecomputed, kLearned };

// How a model is trained.
struct TrainSpec {
  size_t steps = 200, batch = 8, length = 512;  // batch: windows of `length` tokens a step
  size_t warmup = 20;                           // steps, fewer than all
  double rate = 5e-4;                           // the highest
  AdamWSettings adamw{};
  TrainingLoss loss = TrainingLoss::kKl;
  TrainedScales scales = TrainedScales::kRecomputed;
  std::optional<LoraSpec> lora{};  // only adapters are trained
  uint64_t seed = 0;               // of what they begin with
};

// Throws Error where a plan of PlannableLinears gives a matrix outside the blocks a scheme.
void CheckTrainedPlan(const std::vector<PlannedLinear>& plan);

// What training a model that is planned so takes at most: parameters with gradients and moments,
// rounded copies, block inputs and one block's activations, logits, and what each thread has.
double TrainingBytes(const ModelConfig& config, const std::vector<PlannedLinear>& plan,
                     const TrainSpec& spec, size_t threads);

// Which parameters are trained: those of the blocks; or embedding, final norm and head, too.
enum class Trained { kBlocks, kAll };

// A model in training: its parameters in FP32 with AdamW's moments. Matrices that the plan has a
// scheme for are rounded to nearest, scales and all, before every forward pass; the gradient of the
// rounded weight is taken for that of the weight itself (the straight-through estimator: Bengio et
// al. 2013, section 3; of scales chosen anew as in LLM-QAT: Liu et al. 2023, section 2.2). Where
// scales are learned they are parameters, too (learned_scales.h). Where the spec has adapters,
// these alone are trained (lora.h), beside weights that stay as the start has them, codes or not; a
// block's matrices are then composed with them when it is its turn. Block inputs are kept from the
// forward pass, and what lies between them is made again. The bits are the same for any number of
// threads.
class Trainer {
 public:
  // `reference`: what kKl compares with, and `start`: what is trained, of the same config; both are
  // copied where they change and share storage elsewhere. plan: of PlannableLinears; it may leave
  // no matrix outside the blocks a scheme. Config and plan must outlive the trainer. Throws Error
  // for what cannot be trained.
  Trainer(const ModelConfig& config, const ModelWeights& reference, const ModelWeights& start,
          const std::vector<PlannedLinear>& plan, const TrainSpec& spec, Team* team,
          Trained trained = Trained::kBlocks);

  // The loss of a batch: spec.batch windows of spec.length ids, one behind the other. Leaves its
  // gradient in the parameters.
  double Backward(std::span<const uint32_t> ids);

  // Backward and a step of AdamW: the loss before it. Throws Error where that is not finite.
  double Step(std::span<const uint32_t> ids);

  // What the steps to come depend on beside their ids, as bytes and back: steps done, values,
  // moments. False where the bytes are not those of such a trainer, which is then spoilt.
  void WriteState(const ByteSink& sink) const;
  bool ReadState(std::string_view bytes);

  size_t steps_done() const { return steps_done_; }
  std::span<Parameter* const> parameters() { return parameters_; }

  // The start with what was trained in its place: matrices with a scheme in FP32, ready to be
  // rounded, the others rounded to FP16; with adapters the start and these, as the spec's merge
  // says (FinishAdapter). Throws Error as Weight::RoundedToHalf.
  ModelWeights Weights() const;

  // Of learned scales: the codes of the matrices with a scheme, by name.
  std::map<std::string, PackedMatrix> LearnedCodes() const;

 private:
  struct Block {
    std::array<Parameter, kNorms> norms;
    std::array<Parameter, kLinears> weights, biases;
    std::array<const WeightScheme*, kLinears> schemes{};
    std::array<Matrix<float>, kLinears> rounded;  // of those with a scheme
    std::array<LearnedScales, kLinears> scales;   // likewise, where these are learned
    std::array<LoraPair, kLinears> adapters;      // where they are what is trained

    BlockValues Values() const;
    BlockGradients Gradients();
  };

  void MakeBlock(size_t layer, const std::vector<PlannedLinear>& plan);
  void MakeLinear(const LinearRow& row, const PlannedLinear& planned, Block& block);
  void MakeAdapters(const std::vector<PlannedLinear>& plan);
  void Train(Parameter& parameter) { parameters_.push_back(&parameter); }
  BlockValues ValuesOfBlock(size_t layer);
  BlockGradients GradientsOfBlock(size_t layer);
  void FinishGradients(size_t layer);
  void MakeOutside(Trained trained);
  void RoundWeights();
  void ForwardBlocks(std::span<const uint32_t> ids);
  void MakeReferenceHidden(std::span<const uint32_t> ids);
  double BackwardHead(std::span<const uint32_t> ids);

  const ModelConfig& config_;
  const TrainSpec spec_;
  const BatchShape batch_;
  Team* const team_;
  const Rotations rotations_;
  const ModelWeights start_;
  const Transformer reference_;
  Matrix<float> reference_head_;  // empty: the head that is trained, or stays
  std::vector<Block> blocks_;
  // The embedding is empty where the head is tied to it.
  Parameter embedding_, final_norm_, head_;
  std::vector<Parameter*> parameters_;
  bool trains_all_;
  size_t steps_done_ = 0;

  std::vector<Matrix<float>> inputs_;  // of each block, and the last one's output
  Matrix<float> normed_, d_normed_, dh_, reference_hidden_;
  // With adapters: a block's matrices with these, and their gradients.
  std::array<Matrix<float>, kLinears> composed_, composed_gradients_;
  TrainWorkspace work_;
  LossWorkspace loss_work_;
  std::vector<Workspace> reference_work_;  // one a worker
};

}  // namespace quantref
