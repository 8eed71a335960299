#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/base/error.h"
#include "harness/method/calibrate.h"
#include "harness/method/method.h"
#include "harness/method/round_linear.h"
#include "harness/method/sample_share.h"
#include "harness/model/weights.h"
#include "harness/quant/plan.h"

namespace quantref {

// What is asked of a model, and what it becomes.

// Wall time by stage. What was done once for several models counts whole for each of them.
struct QuantizeSeconds {
  double forward = 0;     // of the model over the calibration text
  double statistics = 0;  // products of the inputs (Gram matrices)
  double transform = 0, round = 0;
  double report = 0;  // the errors of the layer report
  double train = 0;   // of all steps
  double shared = 0;  // of all that, what was done for other models at the same time

  double Total() const { return forward + statistics + transform + round + report + train; }
};

struct QuantizedModel {
  ModelWeights weights;
  std::vector<LayerReport> layers{};  // the quantized ones, in the model's order
  QuantizeSeconds seconds{};
  std::vector<double> losses{};  // of training, before each step; empty: it was not trained
};

// One of several models that are quantized together.
struct QuantizeTask {
  const std::vector<PlannedLinear>& plan;
  const Method& method;
  const CalibrationData* calibration = nullptr;  // the same object where tasks read the same text
  Products products = Products::kSimulated;
  std::string name{};        // for progress
  bool keep_starts = false;  // for LayerReport::start
};

// What is said of tasks while they are at work, by their number; one call at a time.
struct QuantizeCallbacks {
  std::function<void(size_t done, size_t total, std::string_view what)> progress{};
  // As soon as a task is through. Those that share much are through at about the same time.
  std::function<void(size_t task, QuantizedModel model)> finished{};
  // Called in the handler of an error that keeps this task alone from being done: returns for the
  // others to go on, or throws. Without it every error is all tasks'.
  std::function<void(size_t task, const Error& error)> failed{};

  // Whether what concerns all of these tasks can be done, by all processes of `share`, of which
  // those that go on would wait for the others; of an error that is theirs alone each is told.
  template <typename F>
  bool Try(std::span<const size_t> tasks, SampleShare* share, const F& do_it) const {
    try {
      share == nullptr ? do_it() : share->TakeStep(do_it);
      return true;
    } catch (const Interrupted&) {
      throw;
    } catch (const Error& error) {
      if (!failed) throw;
      for (const size_t task : tasks) failed(task, error);
      return false;
    }
  }
};

// How many copies of a calibration text's hidden states so many tasks hold at most at a time.
size_t MostStores(size_t tasks, bool sequential);

}  // namespace quantref
