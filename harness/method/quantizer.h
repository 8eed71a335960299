#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>

#include "harness/base/matrix.h"
#include "harness/method/calibrated_block.h"
#include "harness/method/knobs.h"
#include "harness/model/plan_model.h"
#include "harness/quant/packed_matrix.h"
#include "harness/quant/plan.h"
#include "harness/quant/scheme.h"

namespace quantref {

// The plugin interface. A method is any number of transforms, those of the whole model first, and
// then one rounder: "quarot+smoothquant+gptq". All are stateless and shared between threads; the
// same input must give the same bits, whatever the number of threads. How to add one:
// quantizers/README.md.
class Plugin {
 public:
  virtual ~Plugin() = default;

  virtual std::string_view name() const = 0;     // as configs name it
  virtual std::string_view summary() const = 0;  // one line with the paper, for --list
  virtual std::span<const Knob> knobs() const { return {}; }
  virtual DataNeeds needs(const Knobs& /*knobs*/) const { return {}; }

  // Why it cannot work on weights of this scheme, to be read after its name: "looks for zero points
  // that are no codes"; "": it can.
  virtual std::string WhyNot(const WeightScheme& /*scheme*/) const { return {}; }
  bool Supports(const WeightScheme& scheme) const { return WhyNot(scheme).empty(); }
};

// What a rounder is given for one linear. A struct, so that a method that needs more does not
// change those that do not.
struct RoundInput {
  std::string_view name;            // "layers.3.mlp.down_proj"
  MatrixView<const float> weights;  // (out, in), finite
  WeightScheme scheme;              // CheckApplies has passed
  // What it reads on the calibration text, as far as needs() asks. nullptr: an embedding, whose
  // rows are looked up and never multiplied.
  const InputStatistics* inputs = nullptr;
  MatrixView<const float> limits{};  // as CalibratedBlock::limits; empty: nothing is clipped
  const Knobs* knobs = nullptr;      // nullptr: the defaults
  size_t threads = 1;
};

struct Rounded {
  PackedMatrix packed;
  std::string note{};  // what the method decided and the record should say
  // The rounder whose codes these are, where it is another: of a matrix on which a method has
  // nothing to go by. "": its own.
  std::string_view made_by{};
};

// Turns the weights of one linear into codes on the scheme's grid. The format (what a code means,
// how it is packed) is not its business: see harness/quant/grid.h.
class Rounder : public Plugin {
 public:
  // Whether it may put the columns of a matrix into an order of its own (PackedMatrix::order).
  virtual bool Reorders(const WeightScheme& /*scheme*/, const Knobs& /*knobs*/) const {
    return false;
  }
  // Which of its knobs keep them in place, for messages: "gptq.act_order: false"; "": none does.
  virtual std::string_view InPlace() const { return {}; }

  // Throws Error for weights that it cannot round; the caller adds the linear's name.
  virtual Rounded Round(const RoundInput& input) const = 0;

 protected:
  Knobs Settings(const RoundInput& input) const {
    return input.knobs != nullptr ? *input.knobs : Knobs(knobs());
  }
};

// Changes a model as a whole, before anything of it is read, without changing what it computes.
class ModelTransform : public Plugin {
 public:
  // The model's config from then on: what is rotated on the way, whether the head is tied. Throws
  // Error for a model that it cannot change, with the reason.
  virtual ModelConfig Reshape(const ModelConfig& config, const Knobs& knobs) const = 0;
  // Which of its knobs leave nothing to be rotated on the way, for messages; "": none does.
  virtual std::string_view InWeights() const { return {}; }

  // `config`: the model's as it was. Matrices that it changes become FP32.
  virtual void Apply(const ModelConfig& config, const Knobs& knobs, size_t threads,
                     ModelWeights& weights) const = 0;
};

// What a transform tries out on a block, for estimates of its time.
struct SearchWork {
  double rounded = 0;   // weights rounded to nearest
  double products = 0;  // FP32 operations in matrix products, forward passes apart
  double visited = 0;   // numbers that plain loops beside these go over
  // Passes of so many tokens' inputs through the module that ScaleSearch takes for the tap.
  std::array<double, kTaps> forwards{};
  size_t tokens = 0;
  size_t candidates = 1;  // that can be tried at the same time
};

// Makes a block easier to round without changing what it computes: scales folded from one weight
// into another (Fold), and limits beyond which weights are clipped.
class Transform : public Plugin {
 public:
  // Reads what needs() asks for and nothing else that may be there, so that a block comes out the
  // same whatever else was collected, for other methods.
  virtual void Apply(CalibratedBlock& block, const Knobs& knobs, size_t threads) const = 0;

  // Whether it may leave limits of clipping, which must stay the last word on the weights.
  virtual bool Clips(const Knobs& /*knobs*/) const { return false; }

  // What Apply searches in a block that is planned so.
  virtual SearchWork Searches(const BlockPlan& /*block*/, const Knobs& /*knobs*/) const {
    return {};
  }
};

}  // namespace quantref
