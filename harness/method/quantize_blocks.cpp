#include "harness/method/quantize_blocks.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "harness/base/check.h"
#include "harness/base/clock.h"
#include "harness/model/transformer.h"

namespace quantref {
namespace {

using Statistics = std::array<InputStatistics, kTaps>;

class Driver {
 public:
  Driver(const ModelConfig& config, const std::vector<PlannedLinear>& plan, const Method& method,
         const CalibrationData& data, const QuantizeOptions& options, bool tied,
         QuantizedModel& result)
      : config_(config),
        plan_(plan),
        method_(method),
        data_(data),
        options_(options),
        tied_(tied),
        result_(result),
        rope_(config, data.samples.at(0).size()),
        rounder_needs_(method.RounderNeeds(plan)) {
    rounder_needs_.kept = true;  // for the report
    rounder_needs_.channel_max |= method.activations && !method.activations->dynamic;
    transform_needs_ = method.TransformNeeds();
    transform_needs_.channel_max |= rounder_needs_.channel_max;
    samples_ = SamplesRead(data, method.Needs(plan));
    for (size_t layer = 0; layer < config.layers.size(); ++layer)
      total_ += samples_ * PassesOfABlock() + LayoutOf(config, layer).linears.size();
  }

  void Run() {
    const ModelWeights reference = result_.weights;
    if (plan_.front().scheme) {
      RoundAndReport(plan_.front(), {.threads = options_.threads}, result_.weights.embedding);
    }
    Calibrator calibrator(config_, data_.sequential ? result_.weights : reference, data_, samples_,
                          options_.threads);
    for (size_t b = 0; b < config_.layers.size(); ++b) QuantizeBlock(calibrator, b);
    if (HeadIsQuantized()) QuantizeHead(calibrator);
    result_.seconds.forward = calibrator.forward_seconds();
    result_.seconds.statistics = calibrator.statistics_seconds();
  }

 private:
  bool HeadIsQuantized() const {
    return tied_ ? plan_.front().scheme.has_value() : plan_.back().scheme.has_value();
  }
  bool Reads(size_t block) const { return block + 1 < config_.layers.size() || HeadIsQuantized(); }

  size_t PassesOfABlock() const {
    const size_t collecting =
        rounder_needs_.true_sequential ? kTaps + !method_.transforms.empty() : 1;
    return collecting + (data_.sequential || rounder_needs_.true_sequential);
  }

  void Progress(std::string_view what, size_t units = 1) {
    done_ = std::min(done_ + units, total_);
    if (options_.progress) options_.progress(done_, total_, what);
  }

  BlockShape ShapeOf(size_t block) const { return {config_, block, rope_}; }

  // Where the hidden states do not move on, the block's way ends at the last tap that is read.
  Calibrator::Part BlockPart(const BlockWeights& weights, std::optional<Tap> last) const {
    return [this, &weights, last](MatrixView<float> h, Workspace& work, const Observer& observer) {
      if (last) return ObserveBlock(ShapeOf(block_), weights, *last, h, work, observer);
      BlockForward(ShapeOf(block_), weights, h, work, observer);
    };
  }

  void RunPass(Calibrator& calibrator, const BlockWeights& weights, std::span<const Tap> taps,
               const DataNeeds& needs, bool advance, Statistics& statistics) {
    const std::optional<Tap> last = advance ? std::nullopt : std::optional(taps.back());
    const BlockLayout layout = LayoutOf(config_, block_);
    calibrator.Run(BlockPart(weights, last), {layout, taps, needs, advance}, statistics,
                   [this] { Progress(fmt::format("layers.{}, forward", block_)); });
  }

  void QuantizeBlock(Calibrator& calibrator, size_t b) {
    block_ = b;
    const BlockWeights reference = result_.weights.blocks[b];
    const BlockPlan plan = PlanOfBlock(config_, plan_, b);
    CalibratedBlock block{ShapeOf(b), reference, {}, {}, method_.activations, {}, {}};
    for (const LinearRow& row : plan.layout.linears)
      block.schemes[row.index] = plan[row.index].scheme;
    if (rounder_needs_.true_sequential) {
      if (!method_.transforms.empty()) {
        RunPass(calibrator, reference, kAllTaps, transform_needs_, false, block.inputs);
        ApplyTransforms(block);
      }
      for (const Tap tap : kAllTaps) {
        RunPass(calibrator, block.weights, std::span(&tap, 1), rounder_needs_, false, block.inputs);
        RoundReaders(plan, tap, block);
      }
    } else {
      RunPass(calibrator, reference, kAllTaps, transform_needs_ | rounder_needs_, !data_.sequential,
              block.inputs);
      ApplyTransforms(block);
      for (const Tap tap : kAllTaps) RoundReaders(plan, tap, block);
    }
    StoreKept(plan.layout, reference, block);
    BlockWeights& result = result_.weights.blocks[b];
    result = options_.products == Products::kKernel ? WithKernels(block.weights) : block.weights;
    if (!Reads(b)) return;
    // Through the kernels, as the quantized model will run.
    if (data_.sequential) {
      RunPass(calibrator, WithKernels(result), {}, {}, true, block.inputs);
    } else if (rounder_needs_.true_sequential) {
      RunPass(calibrator, reference, {}, {}, true, block.inputs);
    }
  }

  void ApplyTransforms(CalibratedBlock& block) {
    const Clock::time_point start = Clock::now();
    for (const Transform* transform : method_.transforms) {
      Progress(fmt::format("layers.{}, {}", block_, transform->name()), 0);
      transform->Apply(block, method_.KnobsOf(*transform), options_.threads);
    }
    result_.seconds.transform += Since(start);
  }

  void RoundReaders(const BlockPlan& plan, Tap tap, CalibratedBlock& block) {
    const InputStatistics& inputs = block.input(tap);
    for (const LinearIndex reader : plan.layout.Readers(tap)) {
      Linear& linear = block.weights.linears[reader];
      if (block.schemes[reader]) {
        RoundAndReport(plan[reader],
                       {.inputs = &inputs,
                        .limits = block.limits[reader].view(),
                        .activations = block.FormatFor(inputs.channel_max),
                        .note = block.notes[reader],
                        .threads = options_.threads},
                       linear);
      }
      Progress(linear.name);
    }
  }

  void RoundAndReport(const PlannedLinear& planned, const LinearContext& context, Linear& linear) {
    const Clock::time_point start = Clock::now();
    result_.layers.push_back(RoundLinear(planned, method_, context, linear));
    result_.seconds.round += result_.layers.back().seconds;
    result_.seconds.report += Since(start) - result_.layers.back().seconds;
  }

  static void StoreKept(const BlockLayout& layout, const BlockWeights& reference,
                        CalibratedBlock& block) {
    for (const LinearRow& row : layout.linears) {
      if (!block.schemes[row.index])
        StoreAsBefore(reference.linears[row.index], block.weights.linears[row.index]);
    }
  }

  // The head reads the final norm's output. A tied one has the embedding's codes.
  void QuantizeHead(Calibrator& calibrator) {
    const Calibrator::Part final_norm = [this](MatrixView<float> h, Workspace&,
                                               const Observer& observer) {
      FinalNorm(config_, result_.weights, h);
      observer(Tap::kAttentionInput, h);  // as wide as a block's input
    };
    constexpr Tap kTap = Tap::kAttentionInput;
    const BlockLayout layout = LayoutOf(config_, 0);
    Statistics statistics;
    calibrator.Run(final_norm, {layout, std::span(&kTap, 1), rounder_needs_, true}, statistics, {});
    const InputStatistics& inputs = statistics[static_cast<size_t>(kTap)];
    const CalibratedBlock none{ShapeOf(0), {}, {}, {}, method_.activations, {}, {}};
    const std::optional<ActivationFormat> format = none.FormatFor(inputs.channel_max);
    if (tied_) {
      result_.weights.head.activations = format;
      return;
    }
    RoundAndReport(plan_.back(),
                   {.inputs = &inputs, .activations = format, .threads = options_.threads},
                   result_.weights.head);
  }

  const ModelConfig& config_;
  const std::vector<PlannedLinear>& plan_;
  const Method& method_;
  const CalibrationData& data_;
  const QuantizeOptions& options_;
  const bool tied_;
  QuantizedModel& result_;
  const RopeTable rope_;
  DataNeeds rounder_needs_, transform_needs_;
  size_t samples_ = 0, done_ = 0, total_ = 0;
  size_t block_ = 0;  // that is at work
};

}  // namespace

void QuantizeBlocks(const ModelConfig& config, const std::vector<PlannedLinear>& plan,
                    const Method& method, const CalibrationData& data,
                    const QuantizeOptions& options, bool tied, QuantizedModel& result) {
  Driver(config, plan, method, data, options, tied, result).Run();
}

}  // namespace quantref
