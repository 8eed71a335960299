#include "eval/record/stamps.h"

#include <fmt/format.h>

#include <algorithm>

#include "eval/record/note_text.h"
#include "eval/record/reader_fields.h"
#include "eval/record/schema.h"

namespace quantref {
namespace {

// A stamp with the section of the record that it comes from, and what is said of it at length.
struct Found {
  std::string section;
  Stamp stamp;
  std::string line{};
};
using Stamps = std::vector<Found>;

constexpr char kDoubt = 'X';
constexpr const char* kReference = "the reference";
constexpr const char* kTest = "test";
constexpr const char* kBudgetText = "budget.calibration";
constexpr const char* kDecodes =
    "~ decodes codes to FP32 for every product, as no deployment would: not the format's speed\n";
constexpr const char* kBusy =
    "* BUSY machine: several threads without a free core each, or free cores that changed by more "
    "than 10 %\n";

std::string ContaminatedLine(const RecordFields& fields, const std::string& section) {
  const bool trained = section == "finetune", chosen = section == kBudgetText;
  const char* const seen = trained ? "training" : chosen ? "the choice of bits" : "calibration";
  if (!fields.Has(section + ".overlap_with_test")) return fmt::format("CONTAMINATED {}\n", seen);
  const bool same = fields.Flag(section + ".is_test_text");
  return fmt::format(
      "CONTAMINATED: {}{:.1f} % of the measured windows' runs of {} characters were seen in {}\n",
      !same     ? ""
      : trained ? "trained on the text that is measured; "
      : chosen  ? "bits chosen on the text that is measured; "
                : "calibrated on the text that is measured; ",
      100 * fields.NotNegative(section + ".overlap_with_test"), kOverlapRun, seen);
}

std::string InterruptedLine(const RecordFields& fields) {
  const size_t windows = fields.Count("protocol.windows");
  const std::string when =
      fields.Has("protocol.cut_from_windows")
          ? fmt::format("after {} of {} windows", windows,
                        fields.Count("protocol.cut_from_windows"))
          : fmt::format("after the last of {} windows, before all was measured", windows);
  return fmt::format("INTERRUPTED {}; comparable with no other run; --resume completes it\n", when);
}

// With what the reader of a folder noticed.
std::string DecodedLines(const RecordFields& fields) {
  const bool folder = fields.Has("model.foreign");
  std::string lines =
      DecodedLine(fields.TextOr(folder ? "model.foreign.stored" : "model.gguf.stored", ""));
  if (!folder) return lines;
  const auto [doubts, told] = NotesAt(fields, kReferenceNotes);
  if (!doubts.empty()) lines += DoubtText(kReference, doubts) + "\n";
  for (const std::string& note : told) lines += fmt::format("{}: {}\n", kReference, note);
  return lines;
}

// What the text of a section is read for.
std::string UseOf(const std::string& section) {
  return section == "protocol" ? kTest : section == "finetune" ? "training" : "calibration";
}

std::string UnknownText(const RecordFields& fields, const std::string& section) {
  const double share = std::max(fields.NotNegative(section + ".unknown_share"),
                                fields.NotNegative(section + ".unknown_bytes_share"));
  const std::string whose = UseOf(section);
  return fmt::format("UNKNOWN TOKENS: {:.1f} % of the {}", 100 * share,
                     whose == kTest ? "text" : whose + " text");
}

std::string UnknownLine(const RecordFields& fields, const std::string& section) {
  return UnknownTokensLine(UseOf(section), fields.NotNegative(section + ".unknown_share"),
                           fields.NotNegative(section + ".unknown_bytes_share"));
}

// The section that the row's field is in: "protocol", "budget.calibration".
std::string Around(const RecordField& row) { return row.path.substr(0, row.path.rfind('.')); }

bool Says(const RecordFields& fields, const std::string& path, const RecordField& row) {
  if (row.type == FieldType::kFlag) return fields.Flag(path);
  if (!row.stamp.value.empty()) return fields.TextOr(path, "") == row.stamp.value;
  return fields.Has(path);
}

// The maps that say what the row is a stamp for: the record, or each such item of the row's list.
std::vector<RecordFields> Saying(const RecordFields& fields, const RecordField& row) {
  std::vector<RecordFields> saying;
  const size_t list = row.path.find("[].");
  if (list == std::string::npos) {
    if (Says(fields, row.path, row)) saying.push_back(fields);
    return saying;
  }
  for (const RecordFields& item : fields.Maps(row.path.substr(0, list)))
    if (Says(item, row.path.substr(list + 3), row)) saying.push_back(item);
  return saying;
}

// A calibration text that only the layer report read has no part in any figure that is stamped.
bool Concerns(const RecordFields& fields, const RecordField& row) {
  if (row.stamp.of_rates) {
    return !fields.Maps("throughput.prefill_tokens_s").empty() ||
           !fields.Maps("throughput.decode_tokens_s").empty();
  }
  return !row.path.starts_with("calibration.") ||
         fields.TextOr("calibration.used_by", "method") == "method";
}

// What the row's own words leave out.
std::string TextOf(const RecordFields& fields, const RecordFields& saying, const RecordField& row) {
  switch (row.stamp.letter) {
    case kDoubt: {
      const bool candidate = row.path.starts_with(kCandidateNotes);
      return DoubtText(candidate ? fields.Text("method") : kReference,
                       NotesAt(fields, candidate ? kCandidateNotes : kReferenceNotes).doubts);
    }
    case 'P':
      return fmt::format("partial: {} of {} windows", fields.Count("protocol.windows"),
                         fields.Count("protocol.cut_from_windows"));
    case 'U':
      return UnknownText(fields, Around(row));
    case 'O':
      return fmt::format("{} has the codes of {}, not of {}", saying.Text("name"),
                         saying.Text("method"), saying.Text("asked"));
    default:
      return std::string(row.stamp.text);
  }
}

// The same at length; "" where that stands elsewhere beside a table: of candidates' notes, and of
// the texts for calibration and for the choice of bits.
std::string LineOf(const RecordFields& fields, const RecordFields& saying, const RecordField& row) {
  const std::string section = Around(row);
  switch (row.stamp.letter) {
    case 'A':
    case 'C':
    case 'T':
      return ContaminatedLine(fields, section);
    case 'B':
      return kBusy;
    case 'D':
      return kDecodes;
    case 'G':
      return std::string(row.stamp.text) + "\n";
    case 'I':
      return InterruptedLine(fields);
    case 'N':
      if (section == "dataset")
        return SampleLine(fields.Text("dataset.name"), fields.TextOr("dataset.split", ""));
      if (section == "finetune")
        return SampleLine(fields.Text("finetune.dataset"), fields.TextOr("finetune.split", ""));
      return "";
    case 'O': {
      const std::string note = saying.TextOr("note", "");
      return TextOf(fields, saying, row) + (note.empty() ? "" : ": ") + note + "\n";
    }
    case 'P':
      if (fields.Flag("protocol.interrupted")) return "";
      return PartialLine(fields.Count("protocol.windows"),
                         fields.Count("protocol.cut_from_windows"),
                         fields.Flag("protocol.stopped_early"));
    case 'Q':
      return DecodedLines(fields);
    case 'U':
      return UnknownLine(fields, section);
    default:
      return "";
  }
}

// What is said of speeds stands with these, whatever section it comes from.
std::string SectionOf(const RecordField& row) {
  return row.stamp.of_speed ? "throughput" : row.path.substr(0, row.path.find_first_of(".["));
}

// By the schema's rows; of a section first how much of a text was measured and known.
Stamps Find(const RecordFields& fields) {
  Stamps stamps;
  for (const RecordField& row : RecordSchema()) {
    if (row.stamp.letter == 0 || !Concerns(fields, row)) continue;
    for (const RecordFields& saying : Saying(fields, row)) {
      stamps.push_back({SectionOf(row),
                        {row.stamp.letter, TextOf(fields, saying, row), row.stamp.of_speed},
                        LineOf(fields, saying, row)});
    }
  }
  std::ranges::stable_sort(stamps, {}, [](const Found& found) {
    return std::string_view("PU").find(found.stamp.letter);
  });
  return stamps;
}

}  // namespace

bool InDoubt(const std::vector<Stamp>& stamps) {
  return std::ranges::count(stamps, kDoubt, &Stamp::letter) > 0;
}

std::vector<Stamp> StampsOf(const RecordFields& fields) {
  std::vector<Stamp> stamps;
  for (Found& found : Find(fields)) stamps.push_back(std::move(found.stamp));
  std::sort(stamps.begin(), stamps.end());
  stamps.erase(std::unique(stamps.begin(), stamps.end()), stamps.end());
  return stamps;
}

std::vector<std::string> StampLines(const RecordFields& fields, std::string_view section) {
  std::vector<std::string> lines;
  for (Found& found : Find(fields)) {
    if (found.section != section || found.line.empty()) continue;
    if (std::ranges::count(lines, found.line) == 0) lines.push_back(std::move(found.line));
  }
  return lines;
}

std::string PartialLine(size_t windows, size_t all_windows, bool stopped_early) {
  if (stopped_early)
    return fmt::format("STOPPED when sure: {} of {} windows, in random order\n", windows,
                       all_windows);
  if (windows >= all_windows) return "";
  return fmt::format(
      "PARTIAL: the first {} of {} windows; not comparable with whole-text figures\n", windows,
      all_windows);
}

std::string UnknownTokensLine(std::string_view text, double token_share, double byte_share) {
  return fmt::format(
      "UNKNOWN TOKENS: {:.1f} % of the {} text's tokens, {:.1f} % of its bytes: the tokenizer is "
      "not made for it\n",
      100 * token_share, text, 100 * byte_share);
}

std::string SampleLine(std::string_view dataset, std::string_view split) {
  return fmt::format(
      "NOT WIKITEXT: the data set could not be had, so the bundled sample ({}.{}.raw) is used.\n"
      "Its figures compare with nothing published; get the real text with "
      "scripts/fetch_wikitext.\n",
      dataset, split);
}

std::string DecodedLine(std::string_view stored) {
  return fmt::format(
      "The reference is a QUANTIZED file, decoded{}: differences are to that, not to the model it "
      "was made of\n",
      stored.empty() ? "" : fmt::format(" ({})", stored));
}

}  // namespace quantref
