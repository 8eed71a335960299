#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace quantref {

// What calibration and training samples depend on besides their seed, the model and the test text.
struct CalibrationSamples {
  std::string dataset = "wikitext-2", split = "validation";
  size_t samples = 128, length = 2048;
  bool sequential = true;
  bool repeated = false;  // more of them than fit in the text side by side, too
  bool operator==(const CalibrationSamples&) const = default;
};

// The `calibration` section of a config.
struct CalibrationSpec : CalibrationSamples {
  std::vector<size_t> seeds = {0};  // each is a cell of its own
  bool allow_overlap = false;
  bool asked = false;  // the file has this section
};

}  // namespace quantref
