#include "eval/record/calibration_text.h"

#include <fmt/format.h>

#include "eval/support/text_table.h"

namespace quantref {

std::string SamplesText(const SampleCounts& counts) {
  std::string text = fmt::format("{} x {} tokens", counts.samples, counts.length);
  if (counts.distinct > 0) text += fmt::format(", {} distinct", WithThousands(counts.distinct));
  if (counts.text_tokens > 0) text += " of " + WithThousands(counts.text_tokens);
  if (counts.cut)
    text += fmt::format(" (asked for: {} x {})", counts.asked_samples, counts.asked_length);
  return text;
}

}  // namespace quantref
