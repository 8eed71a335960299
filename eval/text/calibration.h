#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "eval/record/calibration_text.h"
#include "eval/text/calibration_spec.h"
#include "eval/text/dataset.h"
#include "eval/text/overlap.h"
#include "eval/text/protocol.h"
#include "harness/method/calibrate.h"
#include "harness/tokenizer/tokenizer.h"

namespace quantref {

// What calibration samples must not hold: a test text, and the windows of it that may be measured.
struct TestText {
  const Text& text;
  const TokenStream& stream;
  std::span<const Window> windows;
};

// Calibration samples as they were drawn, with what a record says of them.
struct CalibrationSet {
  CalibrationData data;
  std::string dataset, split, text_sha256;
  size_t length = 0, seed = 0;
  size_t asked_samples = 0, asked_length = 0;  // by the config
  size_t text_tokens = 0;                      // that there are to draw from
  std::vector<Window> places;                  // of the samples in the text's tokens
  UnknownShare unknown;
  bool is_test_text = false;     // the text that is measured, white space apart, or that split
  std::vector<Overlap> overlap;  // of each of the test text's windows
  bool substituted_sample = false;

  // Of the first so many samples, or of the first tokens of each of them: tokens of the text that
  // are in one or more, and the SHA-256 of their ids, one sample after the other.
  size_t DistinctTokens(size_t samples, size_t tokens = SIZE_MAX) const;
  std::string TokenSha256(size_t samples, size_t tokens = SIZE_MAX) const;
};

// Above this share of the runs of the measured windows a calibration set spoils the measurement.
inline constexpr double kMostOverlap = 0.01;

// Whether a text is the one that is measured, white space apart, or of its split.
bool IsTestText(const Text& text, const Text& test);

// Of these windows.
double OverlapShare(const CalibrationSet& set, std::span<const size_t> windows);
bool IsContaminated(const CalibrationSet& set, std::span<const size_t> windows);

// What samples are drawn from, as in GPTQ's scripts: the text's rows joined as in gptq-2048, BOS
// once before it where `bos` is one.
TokenStream CalibrationTokens(const Text& text, const Tokenizer& tokenizer,
                              std::optional<uint32_t> bos);

// Draws windows at uniformly random places (they may overlap) of the text's CalibrationTokens. A
// model's context shorter than `length` shortens them, and there are no more of them than fit in
// the text side by side, unless they may be repeated. Throws Error where the text is shorter than
// one sample.
CalibrationSet DrawCalibration(const CalibrationSamples& calibration, size_t seed, const Text& text,
                               const TokenStream& stream, size_t context, const TestText& test);

// Throws Error where the set is contaminated for the windows that may be measured. `section`: of
// the config, that asked for it.
void RefuseContaminated(const CalibrationSet& set, const std::string& section = "calibration");

// Of the first so many of the set.
std::string SamplesText(const CalibrationSet& set, size_t samples);

}  // namespace quantref
