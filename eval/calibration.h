#pragma once

#include <cstdint>
#include <string>

#include "eval/dataset.h"
#include "eval/protocol.h"
#include "eval/run_config.h"
#include "harness/calibrate.h"
#include "harness/model/llama.h"

namespace quantref {

// Calibration samples as they were drawn, with what a record says of them.
struct CalibrationSet {
  CalibrationData data;
  std::string dataset, split, text_sha256;
  size_t length = 0, seed = 0;
  std::string token_sha256;  // of all samples' ids, one after the other
  double overlap = 0;        // OverlapShare of the test text
  bool overlap_allowed = false;
  bool substituted_sample = false;
};

// Above this share of the test text a calibration set spoils the measurement.
inline constexpr double kMostOverlap = 0.01;

// Draws the samples as GPTQ's scripts do: the text's rows joined as in gptq-2048, BOS once before
// it, and windows at uniformly random places (they may overlap). A context shorter than `length`
// shortens them. Throws Error where the text is shorter than one sample, and where more than
// kMostOverlap of the test text is in the samples and the config does not allow it.
CalibrationSet DrawCalibration(const RunConfig::Calibration& calibration, size_t seed,
                               const Text& text, const Model& model, const TokenStream& test);

}  // namespace quantref
