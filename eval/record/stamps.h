#pragma once

#include <compare>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace quantref {

class RecordFields;

// What must be known of a record before its figures are used, everywhere where they stand. Tables
// mark cells with the letter.
struct Stamp {
  char letter;
  std::string text;
  bool speed;  // of speeds, else of accuracy
  auto operator<=>(const Stamp&) const = default;
};

// Of a candidate, or a reference, whose numbers may be others than its maker meant: it wins
// nothing.
bool InDoubt(const std::vector<Stamp>& stamps);

// Sorted, each once.
std::vector<Stamp> StampsOf(const RecordFields& fields);

// The same at length, as sentences beside a table of the record's run, each with its line's end:
// those that come from one section of the record ("model", "protocol", "dataset", "calibration",
// "layers", "throughput", "simulated_vs_kernel").
std::vector<std::string> StampLines(const RecordFields& fields, std::string_view section);

// These sentences where there is no record yet; "" where there is nothing to say.
std::string PartialLine(size_t windows, size_t all_windows, bool stopped_early);
std::string UnknownTokensLine(std::string_view text, double token_share, double byte_share);
std::string SampleLine(std::string_view dataset, std::string_view split);  // of what stood in
std::string DecodedLine(std::string_view stored);  // GgufFacts::Summary, StoredSummary

inline constexpr char kSyntheticStamp[] = "SYNTHETIC WEIGHTS: speed only";

// calibration.overlap_with_test counts runs of so many characters, white space left out: about 13
// words of English, the run by which Brown et al. 2020 (GPT-3) count contamination, and it needs no
// spaces between words. The validation and test splits of WikiText-2 have one of a million in
// common.
inline constexpr size_t kOverlapRun = 50;

}  // namespace quantref
