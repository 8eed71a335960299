#pragma once

#include <cstddef>
#include <string>

#include "eval/text/calibration_spec.h"
#include "harness/train/trainer.h"

namespace quantref {

// The `finetune` section of a config: how cells are trained, and on what.
struct FinetuneSpec {
  std::string dataset = "wikitext-2", split = "train";
  size_t seed = 0;  // of the samples' places
  TrainSpec train{};
  bool allow_overlap = false;
  size_t checkpoint = 50;  // steps between those that --resume goes on from; 0: none

  CalibrationSamples Samples() const {
    return {.dataset = dataset,
            .split = split,
            .samples = train.steps * train.batch,
            .length = train.length,
            .sequential = false,
            .repeated = true};
  }
};

}  // namespace quantref
