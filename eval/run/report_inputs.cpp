#include "eval/run/report_inputs.h"

#include <fmt/format.h>

#include <algorithm>

#include "eval/support/public_name.h"
#include "eval/text/overlap.h"

namespace quantref {
namespace {

std::string UnknownLine(const char* what, const UnknownShare& unknown) {
  if (!unknown.TooMuch()) return "";
  return fmt::format(
      "UNKNOWN TOKENS: {:.1f} % of the {} text's tokens, {:.1f} % of its bytes: the tokenizer is "
      "not made for it\n",
      100 * unknown.tokens, what, 100 * unknown.bytes);
}

std::string CalibrationLine(const GroupResult& group, const CellResult& cell) {
  const CalibrationSet& set = *cell.calibration;
  std::string line = fmt::format("calibrated on {}, {}", TextName(set.dataset, set.split),
                                 SamplesText(set, cell.samples_read));
  if (set.substituted_sample) line += " (NOT WIKITEXT: the bundled sample)";
  line += "\n" + UnknownLine("calibration", set.unknown);
  const std::vector<size_t> windows = MeasuredIndices(group);
  if (!IsContaminated(set, windows)) return line;
  return line + fmt::format(
                    "CONTAMINATED: {}{:.1f} % of the measured windows' runs of {} characters were "
                    "seen in calibration\n",
                    set.is_test_text ? "calibrated on the text that is measured; " : "",
                    100 * OverlapShare(set, windows), kOverlapRun);
}

}  // namespace

std::string TestTextLine(const GroupResult& group) {
  return UnknownLine("test", MeasureUnknown(*group.stream, MeasuredIn(group)));
}

std::string CalibrationLines(const GroupResult& group, const std::vector<CellResult>& cells) {
  std::vector<std::string> lines;
  for (const CellResult& cell : cells) {
    if (!cell.calibrates) continue;
    std::string line = CalibrationLine(group, cell);
    if (std::find(lines.begin(), lines.end(), line) == lines.end())
      lines.push_back(std::move(line));
  }
  std::string text;
  for (const std::string& line : lines) text += line;
  return text;
}

std::string CalibrationWarning(const CalibrationSet& set) {
  const size_t samples = set.data.samples.size();
  if (samples == set.asked_samples && set.length == set.asked_length) return "";
  return fmt::format("LESS CALIBRATION THAN ASKED FOR: {}: {}\n", TextName(set.dataset, set.split),
                     SamplesText(set, samples));
}

std::string SampleWarning(const Text& text) {
  return fmt::format(
      "NOT WIKITEXT: the data set could not be had, so the bundled sample ({}) is used.\n"
      "Its figures compare with nothing published; get the real text with "
      "scripts/fetch_wikitext.\n",
      text.path.filename().string());
}

}  // namespace quantref
