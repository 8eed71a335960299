#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "harness/method/calibrated_block.h"
#include "harness/method/quantize_task.h"

namespace quantref {

// Progress of several cells, each of which has so many units to do. A unit that is done for several
// of them counts for each.
class QuantizeProgress {
 public:
  explicit QuantizeProgress(const QuantizeCallbacks& callbacks) : callbacks_(callbacks) {}

  void Expect(size_t units) { total_ += units; }
  void Add(size_t units, std::string_view what) {
    done_ += units;
    if (callbacks_.progress) callbacks_.progress(done_, total_, what);
  }

 private:
  const QuantizeCallbacks& callbacks_;
  size_t done_ = 0, total_ = 0;
};

// One cell on its way through the blocks: what is its own, whatever it shares with others.
class CellAtWork {
 public:
  // All but `weights` must outlive it.
  CellAtWork(const ModelConfig& config, const ModelWeights& weights, const QuantizeTask& task,
             size_t number, size_t threads);

  const size_t number;  // of the task
  const QuantizeTask& task;
  const DataNeeds transform_needs, rounder_needs;  // the layer report's among the latter
  QuantizedModel result;

  // What the task's method itself asks for.
  DataNeeds own_needs() const { return task.method.Needs(task.plan); }
  bool HeadIsQuantized() const;
  // Of the head's inputs. A tied head is rounded as the embedding: only its inputs may ask.
  DataNeeds HeadNeeds() const;

  // What progress it will report, of so many samples.
  size_t Units(size_t samples) const;
  void Done(size_t units, QuantizeProgress& progress, std::string_view what);
  void DoneAll(size_t samples, QuantizeProgress& progress);  // what is left, done or not

  // The block as it is planned, without statistics.
  CalibratedBlock Planned(const BlockShape& shape, const BlockWeights& reference) const;
  // Whether both would make the same of the block by their transforms.
  bool TransformsAlike(const CellAtWork& other, size_t block) const;

  void RoundEmbedding();
  // Rounds the readers of the tap in `made`, whose weights are the block's or were rounded already.
  void RoundReaders(Tap tap, const CalibratedBlock& block, BlockWeights& made,
                    QuantizeProgress& progress);
  // Takes `made` for the block's result.
  void Take(const CalibratedBlock& block, const BlockWeights& reference, BlockWeights made);
  // The head reads the final norm's output. A tied one has the embedding's codes.
  void RoundHead(const BlockShape& any, const InputStatistics& inputs);

 private:
  void RoundAndReport(const PlannedLinear& planned, const LinearContext& context, Linear& linear);

  const ModelConfig& config_;
  const size_t threads_;
  const bool tied_;
  size_t done_ = 0;
};

// Whether weights, blocks that were made of the same one are the same to their last bits.
bool SameWeight(const Weight& a, const Weight& b);
bool SameBlock(const BlockWeights& a, const BlockWeights& b);

}  // namespace quantref
