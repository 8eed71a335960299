#include "eval/text/calibration.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "eval/support/public_name.h"
#include "eval/text/calibration_spec.h"
#include "harness/base/error.h"
#include "harness/base/rng.h"
#include "harness/base/sha256.h"

namespace quantref {
namespace {

// In the order of the text.
std::vector<TextRange> RangesOf(const TokenStream& stream, std::span<const Window> windows) {
  std::vector<TextRange> ranges;
  for (const Window& window : windows) {
    ranges.push_back(
        {stream.bytes_before[window.begin], stream.bytes_before[window.begin + window.length]});
  }
  std::sort(ranges.begin(), ranges.end(),
            [](const TextRange& a, const TextRange& b) { return a.begin < b.begin; });
  return ranges;
}

void DrawSamples(const TokenStream& stream, size_t count, CalibrationSet& set) {
  Rng rng(set.seed);
  for (size_t s = 0; s < count; ++s) {
    const size_t place = rng.Below(stream.ids.size() - set.length + 1);
    const auto first = stream.ids.begin() + static_cast<std::ptrdiff_t>(place);
    set.data.samples.emplace_back(first, first + static_cast<std::ptrdiff_t>(set.length));
    set.places.push_back({place, set.length});
  }
}

}  // namespace

// A user's own file has no split: there the content decides.
bool IsTestText(const Text& text, const Text& test) {
  const bool same_split =
      !text.split.empty() && text.dataset == test.dataset && text.split == test.split;
  return same_split || SameButForSpace(text.bytes, test.bytes);
}

size_t CalibrationSet::DistinctTokens(size_t samples, size_t tokens) const {
  std::vector<size_t> begins;
  for (size_t s = 0; s < samples; ++s) begins.push_back(places[s].begin);
  std::sort(begins.begin(), begins.end());
  const size_t each = std::min(length, tokens);
  size_t distinct = 0, end = 0;  // of those so far
  for (const size_t begin : begins) {
    distinct += begin + each - std::clamp(end, begin, begin + each);
    end = begin + each;
  }
  return distinct;
}

std::string CalibrationSet::TokenSha256(size_t samples, size_t tokens) const {
  std::vector<uint32_t> all;
  for (size_t s = 0; s < samples; ++s) {
    const std::vector<uint32_t>& ids = data.samples[s];
    const size_t count = std::min(ids.size(), tokens);
    all.insert(all.end(), ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count));
  }
  return Sha256Hex(std::span<const uint32_t>(all));
}

double OverlapShare(const CalibrationSet& set, std::span<const size_t> windows) {
  size_t runs = 0, found = 0;
  for (const size_t w : windows) {
    runs += set.overlap[w].runs;
    found += set.overlap[w].found;
  }
  return runs == 0 ? 0 : static_cast<double>(found) / static_cast<double>(runs);
}

bool IsContaminated(const CalibrationSet& set, std::span<const size_t> windows) {
  return set.is_test_text || OverlapShare(set, windows) > kMostOverlap;
}

TokenStream CalibrationTokens(const Text& text, const Tokenizer& tokenizer,
                              std::optional<uint32_t> bos) {
  return Tokenize(FindProtocol("gptq-2048"), text.bytes, tokenizer, bos);
}

CalibrationSet DrawCalibration(const CalibrationSamples& calibration, size_t seed, const Text& text,
                               const TokenStream& stream, size_t context, const TestText& test) {
  CalibrationSet set;
  set.dataset = text.dataset;
  set.split = text.split;
  set.text_sha256 = text.sha256;
  set.substituted_sample = text.substituted_sample;
  set.is_test_text = IsTestText(text, test.text);
  set.seed = seed;
  set.length = std::min(calibration.length, context);
  set.asked_samples = calibration.samples;
  set.asked_length = calibration.length;
  set.data.sequential = calibration.sequential;
  set.text_tokens = stream.ids.size();
  const char* const section = calibration.repeated ? "finetune" : "calibration";
  if (set.text_tokens < set.length) {
    throw Error(fmt::format("expected a text of at least one sample of {} tokens, found {}",
                            set.length, set.text_tokens),
                fmt::format("{}: {}", section, text.path.string()),
                fmt::format("lower {}.length", section));
  }
  const size_t fit = set.text_tokens / set.length;
  DrawSamples(stream,
              calibration.repeated ? calibration.samples : std::min(calibration.samples, fit), set);
  set.unknown = MeasureUnknown(stream, set.places);
  set.overlap = MeasureOverlap({test.stream.text, RangesOf(test.stream, test.windows)},
                               {stream.text, RangesOf(stream, set.places)});
  return set;
}

void RefuseContaminated(const CalibrationSet& set, const std::string& section) {
  std::vector<size_t> all(set.overlap.size());
  std::iota(all.begin(), all.end(), size_t{0});
  if (!IsContaminated(set, all)) return;
  const std::string what =
      set.is_test_text
          ? fmt::format("the {} text is the text that is measured", section)
          : fmt::format(
                "{:.1f} % of the measured windows' runs of {} characters are in the "
                "{} samples (at most {:.0f} %)",
                100 * OverlapShare(set, all), kOverlapRun, section, 100 * kMostOverlap);
  throw Error(what, section + ": " + TextName(set.dataset, set.split),
              fmt::format("take another text, or set {}.allow_overlap: true to have every result "
                          "stamped",
                          section));
}

std::string SamplesText(const CalibrationSet& set, size_t samples) {
  return SamplesText(SampleCounts{
      .samples = samples,
      .length = set.length,
      .distinct = set.DistinctTokens(samples),
      .text_tokens = set.text_tokens,
      .cut = set.data.samples.size() < set.asked_samples || set.length < set.asked_length,
      .asked_samples = set.asked_samples,
      .asked_length = set.asked_length});
}

}  // namespace quantref
