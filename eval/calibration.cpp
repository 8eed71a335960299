#include "eval/calibration.h"

#include <fmt/format.h>

#include <algorithm>

#include "eval/overlap.h"
#include "harness/base/error.h"
#include "harness/base/rng.h"
#include "harness/base/sha256.h"

namespace quantref {
namespace {

// Both texts through the tokenizer, which may have its own idea of white space.
double MeasureOverlap(const CalibrationData& data, const Tokenizer& tokenizer,
                      const TokenStream& test) {
  std::vector<std::string> texts;
  for (const std::vector<uint32_t>& ids : data.samples) texts.push_back(tokenizer.Decode(ids));
  return OverlapShare(tokenizer.Decode(test.ids), texts);
}

}  // namespace

CalibrationSet DrawCalibration(const RunConfig::Calibration& calibration, size_t seed,
                               const Text& text, const Model& model, const TokenStream& test) {
  CalibrationSet set;
  set.dataset = text.dataset;
  set.split = text.split;
  set.text_sha256 = text.sha256;
  set.substituted_sample = text.substituted_sample;
  set.seed = seed;
  set.length = std::min(calibration.length, model.config.context);
  set.overlap_allowed = calibration.allow_overlap;
  set.data.sequential = calibration.sequential;
  const TokenStream stream =
      Tokenize(FindProtocol("gptq-2048"), text.bytes, model.tokenizer, model.bos_id);
  if (stream.ids.size() < set.length) {
    throw Error(fmt::format("expected a text of at least one sample of {} tokens, found {}",
                            set.length, stream.ids.size()),
                "calibration: " + text.path.string(), "lower calibration.length");
  }
  Rng rng(seed);
  std::vector<uint32_t> all;
  for (size_t s = 0; s < calibration.samples; ++s) {
    const auto first = stream.ids.begin() +
                       static_cast<std::ptrdiff_t>(rng.Below(stream.ids.size() - set.length + 1));
    set.data.samples.emplace_back(first, first + static_cast<std::ptrdiff_t>(set.length));
    all.insert(all.end(), set.data.samples.back().begin(), set.data.samples.back().end());
  }
  set.token_sha256 = Sha256Hex(std::span<const uint32_t>(all));
  set.overlap = MeasureOverlap(set.data, model.tokenizer, test);
  if (set.overlap > kMostOverlap && !set.overlap_allowed) {
    throw Error(fmt::format("{:.1f} % of the test text's runs of {} words are in the calibration "
                            "samples (at most {:.0f} %)",
                            100 * set.overlap, kOverlapWords, 100 * kMostOverlap),
                fmt::format("calibration: {} {}", text.dataset, text.split),
                "calibrate on another text, or set calibration.allow_overlap: true to have every "
                "result stamped");
  }
  return set;
}

}  // namespace quantref
