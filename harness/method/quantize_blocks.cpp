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
using Cells = std::vector<CellAtWork*>;

Statistics CopyOf(const Statistics& statistics) {
  Statistics copy;
  for (size_t tap = 0; tap < kTaps; ++tap) copy[tap] = statistics[tap].Copy();
  return copy;
}

void Spend(const Cells& cells, double QuantizeSeconds::*stage, double seconds) {
  for (CellAtWork* cell : cells) {
    cell->result.seconds.*stage += seconds;
    if (cells.size() > 1) cell->result.seconds.shared += seconds;
  }
}

// As parts in which any two are alike, the smaller ones first.
template <typename Alike>
std::vector<Cells> Parts(const Cells& cells, const Alike& alike) {
  std::vector<Cells> parts;
  for (CellAtWork* cell : cells) {
    const auto part = std::find_if(parts.begin(), parts.end(),
                                   [&](const Cells& p) { return alike(*p.front(), *cell); });
    part == parts.end() ? parts.push_back({cell}) : part->push_back(cell);
  }
  std::stable_sort(parts.begin(), parts.end(),
                   [](const Cells& a, const Cells& b) { return a.size() < b.size(); });
  return parts;
}

// Cells go on together as long as they read the same hidden states. Where they part, one after the
// other takes a copy of these through its own block and to the end, the largest part last, which
// needs no copy.
class Driver {
 public:
  Driver(const ModelConfig& config, const ModelWeights& weights, const CellFamily& family,
         size_t threads, const QuantizeCallbacks& callbacks, SampleShare* share,
         QuantizeProgress& progress, const std::function<void(CellAtWork&)>& finish)
      : config_(config),
        reference_(weights),
        family_(family),
        threads_(threads),
        callbacks_(callbacks),
        share_(share),
        progress_(progress),
        finish_(finish),
        rope_(config, family.read.length) {}

  void Run() {
    Cells cells;
    for (const std::unique_ptr<CellAtWork>& cell : family_.cells) cells.push_back(cell.get());
    cells = Those(cells, [](CellAtWork& cell) { cell.RoundEmbedding(); });
    const std::vector<Cells> parts = Parts(cells, [&](const CellAtWork& a, const CellAtWork& b) {
      return !sequential() ||
             SameWeight(a.result.weights.embedding.weight, b.result.weights.embedding.weight);
    });
    for (const Cells& part : parts) {
      const ModelWeights& read = sequential() ? part.front()->result.weights : reference_;
      const size_t stores =
          MostStores(family_.cells.size(), sequential()) * (AnyCross(cells) ? 2 : 1);
      std::optional<Calibrator> calibrator;
      const auto begin = [&] {
        calibrator.emplace(config_, read, family_.data, family_.read, threads_,
                           family_.data.activation_budget / stores, share_);
        if (AnyCross(part)) calibrator->Accompany(reference_);
      };
      if (Try(part, begin)) Walk(*calibrator, part, 0);
    }
  }

 private:
  bool sequential() const { return family_.data.sequential; }
  bool Reads(const CellAtWork& cell, size_t block) const {
    return block + 1 < config_.layers.size() || cell.HeadIsQuantized();
  }
  bool AnyReads(const Cells& cells, size_t block) const {
    return std::any_of(cells.begin(), cells.end(),
                       [&](const CellAtWork* cell) { return Reads(*cell, block); });
  }
  static bool AnyCross(const Cells& cells) {
    return std::any_of(cells.begin(), cells.end(),
                       [](const CellAtWork* cell) { return cell->rounder_needs.cross; });
  }
  BlockShape ShapeOf(size_t block) const { return {config_, block, rope_}; }

  // Those for which it can be done. An error that is not for all is reported and the cell dropped.
  template <typename F>
  Cells Those(const Cells& cells, const F& do_it) {
    Cells done;
    for (CellAtWork* cell : cells) {
      if (Try({cell}, [&] { do_it(*cell); })) done.push_back(cell);
    }
    return done;
  }

  // Whether what concerns all of these cells can be done; else they are through. No pass is part of
  // it: processes send each other sums in there. Nor need it be: what ends one is the machine's (a
  // thread or a buffer that it refuses), an input's that has changed, or the user's, and so all
  // cells'.
  template <typename F>
  bool Try(const Cells& cells, const F& do_it) {
    std::vector<size_t> tasks;
    for (const CellAtWork* cell : cells) tasks.push_back(cell->number);
    if (callbacks_.Try(tasks, share_, do_it)) return true;
    for (CellAtWork* cell : cells) cell->DoneAll(family_.read.samples, progress_);
    return false;
  }

  // From the block on to the end.
  void Walk(Calibrator& calibrator, Cells cells, size_t block) {
    for (; block < config_.layers.size(); ++block) {
      cells = QuantizeBlock(calibrator, cells, block);
      Cells going;
      for (CellAtWork* cell : cells) Reads(*cell, block) ? going.push_back(cell) : Finish(*cell);
      cells = std::move(going);
      if (cells.empty()) return;
      if (!sequential()) continue;
      std::vector<Cells> parts = Parts(cells, [&](const CellAtWork& a, const CellAtWork& b) {
        return SameBlock(a.result.weights.blocks[block], b.result.weights.blocks[block]);
      });
      cells = std::move(parts.back());
      parts.pop_back();
      AdvanceReference(calibrator, block);
      for (const Cells& part : parts) {
        std::optional<Calibrator> copy;
        if (!Try(part, [&] { copy.emplace(calibrator); })) continue;
        if (!AnyCross(part)) copy->LeaveReference();
        Advance(*copy, part, block);
        Walk(*copy, part, block + 1);
      }
      if (!AnyCross(cells)) calibrator.LeaveReference();
      Advance(calibrator, cells, block);
    }
    QuantizeHeads(calibrator, cells);
  }

  void Finish(CellAtWork& cell) {
    cell.DoneAll(family_.read.samples, progress_);
    finish_(cell);
  }

  // Where the hidden states do not move on, the block's way ends at the last tap that is read.
  Calibrator::Part BlockPart(size_t block, const BlockWeights& weights,
                             std::optional<Tap> last) const {
    return [this, block, &weights, last](MatrixView<float> h, Workspace& work,
                                         const Observer& observer) {
      RangeObserver seen{.last = last};
      if (observer)
        seen.tap = [&](size_t, Tap tap, MatrixView<const float> x) { observer(tap, x); };
      RunBlocks({config_, std::span(&weights, 1), block}, rope_, h, work, seen);
    };
  }

  // What of the tap's products is asked for by these cells, each with its own needs.
  template <typename NeedsOf>
  GramPart Gram(const Cells& cells, size_t block, Tap tap, const NeedsOf& needs_of) const {
    GramPart part = GramPart::kNone;
    for (const CellAtWork* cell : cells) {
      const BlockPlan plan = PlanOfBlock(config_, cell->task.plan, block);
      part = std::max(part, GramOf(plan, tap, needs_of(*cell)));
    }
    return part;
  }

  template <typename NeedsOf>
  bool Cross(const Cells& cells, size_t block, Tap tap, const NeedsOf& needs_of) const {
    return std::any_of(cells.begin(), cells.end(), [&](const CellAtWork* cell) {
      return CrossOf(PlanOfBlock(config_, cell->task.plan, block), tap, needs_of(*cell));
    });
  }

  // One pass for all of these cells. `unrounded`: what the reference's hidden states go through
  // beside it, where the cells ask for that.
  template <typename NeedsOf>
  void RunPass(Calibrator& calibrator, const Cells& cells, size_t block,
               const BlockWeights& weights, std::span<const Tap> taps, const NeedsOf& needs_of,
               bool advance, Statistics& statistics, const BlockWeights* unrounded = nullptr) {
    const BlockLayout layout = LayoutOf(config_, block);
    Calibrator::Pass pass{.layout = layout, .taps = taps, .advance = advance};
    for (const CellAtWork* cell : cells) pass.needs = pass.needs | needs_of(*cell);
    for (const Tap tap : taps) {
      const size_t at = static_cast<size_t>(tap);
      pass.grams[at] = Gram(cells, block, tap, needs_of);
      pass.crosses[at] = Cross(cells, block, tap, needs_of);
      if (pass.crosses[at]) pass.reference = BlockPart(block, *unrounded, taps.back());
    }
    const std::optional<Tap> last = advance ? std::nullopt : std::optional(taps.back());
    const std::string what = fmt::format("layers.{}, forward", block);
    const auto on_sample = [&] {
      for (CellAtWork* cell : cells) cell->Done(1, progress_, what);
    };
    const Calibrator::Seconds seconds =
        calibrator.Run(BlockPart(block, weights, last), pass, statistics, on_sample);
    Spend(cells, &QuantizeSeconds::forward, seconds.forward);
    Spend(cells, &QuantizeSeconds::statistics, seconds.statistics);
  }

  // Through the kernels where the quantized model's products will multiply the codes themselves;
  // decoded, they are the same numbers in either layout.
  void Advance(Calibrator& calibrator, const Cells& cells, size_t block) {
    BlockWeights weights = cells.front()->result.weights.blocks[block];
    for (Linear& linear : weights.linears) {
      if (linear.weight.quantized() &&
          MultipliesCodes(linear.activations, family_.read.length, FormOfCodes(linear.weight)))
        linear.weight = linear.weight.WithKernels();
    }
    Statistics none;
    RunPass(calibrator, cells, block, weights, {}, NoNeeds, true, none);
  }
  void AdvanceReference(Calibrator& calibrator, size_t block) {
    if (!calibrator.accompanied()) return;
    calibrator.AdvanceReference(BlockPart(block, reference_.blocks[block], std::nullopt));
  }
  static DataNeeds NoNeeds(const CellAtWork&) { return {}; }

  // Returns those that could be quantized. Where blocks read what the reference gives, the hidden
  // states move on.
  Cells QuantizeBlock(Calibrator& calibrator, const Cells& cells, size_t block) {
    const BlockWeights& reference = reference_.blocks[block];
    Cells together, done;
    for (CellAtWork* cell : cells) {
      if (!cell->rounder_needs.true_sequential) {
        together.push_back(cell);
      } else if (QuantizeTapByTap(calibrator, *cell, block)) {
        done.push_back(cell);
      }
    }
    const bool advance = !sequential() && AnyReads(cells, block);
    if (!together.empty()) {
      Statistics inputs;
      const auto needs = [](const CellAtWork& c) { return c.transform_needs | c.rounder_needs; };
      RunPass(calibrator, together, block, reference, kAllTaps, needs, advance, inputs, &reference);
      QuantizeTogether(together, block, std::move(inputs), done);
    } else if (advance) {
      Statistics none;
      RunPass(calibrator, done, block, reference, {}, NoNeeds, true, none);
    }
    return done;
  }

  // Transforms once where they are alike; those without any first, which leave the statistics.
  void QuantizeTogether(const Cells& cells, size_t block, Statistics inputs, Cells& done) {
    std::vector<Cells> groups = Parts(cells, [&](const CellAtWork& a, const CellAtWork& b) {
      return a.TransformsAlike(b, block);
    });
    std::stable_partition(groups.begin(), groups.end(), [](const Cells& group) {
      return group.front()->task.method.transforms.empty();
    });
    for (const Cells& group : groups) {
      const bool last = &group == &groups.back();
      const bool changes = !group.front()->task.method.transforms.empty();
      CalibratedBlock calibrated = group.front()->Planned(ShapeOf(block), reference_.blocks[block]);
      calibrated.inputs = changes && !last ? CopyOf(inputs) : std::move(inputs);
      const bool transformed = Try(group, [&] { ApplyTransforms(group, calibrated); });
      const auto round = [&](CellAtWork& cell) {
        BlockWeights made = calibrated.weights;
        for (const Tap tap : kAllTaps) cell.RoundReaders(tap, calibrated, made, progress_);
        cell.Take(calibrated, reference_.blocks[block], std::move(made));
      };
      const Cells rounded = transformed ? Those(group, round) : Cells();
      done.insert(done.end(), rounded.begin(), rounded.end());
      if (!changes && !last) inputs = std::move(calibrated.inputs);
    }
  }

  // Each tap's readers see the block's earlier linears as they were rounded. Returns whether they
  // could be.
  bool QuantizeTapByTap(Calibrator& calibrator, CellAtWork& cell, size_t block) {
    const BlockWeights& reference = reference_.blocks[block];
    CalibratedBlock calibrated = cell.Planned(ShapeOf(block), reference);
    const Cells own = {&cell};
    if (!cell.task.method.transforms.empty()) {
      RunPass(
          calibrator, own, block, reference, kAllTaps,
          [](const CellAtWork& c) { return c.transform_needs; }, false, calibrated.inputs);
      if (!Try(own, [&] { ApplyTransforms(own, calibrated); })) return false;
    }
    BlockWeights made = calibrated.weights;
    for (const Tap tap : kAllTaps) {
      RunPass(
          calibrator, own, block, made, std::span(&tap, 1),
          [](const CellAtWork& c) { return c.rounder_needs; }, false, calibrated.inputs,
          &calibrated.weights);
      if (!Try(own, [&] { cell.RoundReaders(tap, calibrated, made, progress_); })) return false;
    }
    return Try(own, [&] { cell.Take(calibrated, reference, std::move(made)); });
  }

  void ApplyTransforms(const Cells& cells, CalibratedBlock& block) {
    const Clock::time_point start = Clock::now();
    const Method& method = cells.front()->task.method;
    for (const Transform* transform : method.transforms) {
      progress_.Add(0, fmt::format("layers.{}, {}", block.shape.layer, transform->name()));
      transform->Apply(block, method.KnobsOf(*transform), threads_);
    }
    Spend(cells, &QuantizeSeconds::transform, Since(start));
  }

  void QuantizeHeads(Calibrator& calibrator, const Cells& cells) {
    const Calibrator::Part final_norm = [this](MatrixView<float> h, Workspace&,
                                               const Observer& observer) {
      FinalNorm(config_, reference_, h);
      observer(Tap::kAttentionInput, h);  // as wide as a block's input
    };
    constexpr Tap kTap = Tap::kAttentionInput;
    constexpr size_t kAt = static_cast<size_t>(kTap);
    const BlockLayout layout = LayoutOf(config_, 0);
    Calibrator::Pass pass{.layout = layout, .taps = std::span(&kTap, 1), .advance = true};
    for (const CellAtWork* cell : cells) pass.needs = pass.needs | cell->HeadNeeds();
    if (pass.needs.gram) pass.grams[kAt] = GramPart::kAll;
    pass.crosses[kAt] = pass.needs.cross;
    if (pass.needs.cross) pass.reference = final_norm;
    Statistics statistics;
    const Calibrator::Seconds seconds = calibrator.Run(final_norm, pass, statistics, {});
    Spend(cells, &QuantizeSeconds::forward, seconds.forward);
    Spend(cells, &QuantizeSeconds::statistics, seconds.statistics);
    for (CellAtWork* cell :
         Those(cells, [&](CellAtWork& c) { c.RoundHead(ShapeOf(0), statistics[kAt]); }))
      Finish(*cell);
  }

  const ModelConfig& config_;
  const ModelWeights& reference_;
  const CellFamily& family_;
  const size_t threads_;
  const QuantizeCallbacks& callbacks_;
  SampleShare* const share_;
  QuantizeProgress& progress_;
  const std::function<void(CellAtWork&)>& finish_;
  const RopeTable rope_;
};

}  // namespace

size_t MostStores(size_t tasks, bool sequential) {
  size_t stores = 1;
  for (; sequential && tasks > 1; tasks /= 2) ++stores;
  return stores;
}

void QuantizeBlocks(const ModelConfig& config, const ModelWeights& weights,
                    const CellFamily& family, size_t threads, const QuantizeCallbacks& callbacks,
                    SampleShare* share, QuantizeProgress& progress,
                    const std::function<void(CellAtWork&)>& finish) {
  Driver(config, weights, family, threads, callbacks, share, progress, finish).Run();
}

}  // namespace quantref
