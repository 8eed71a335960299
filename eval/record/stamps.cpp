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
constexpr const char* kBudgetText = "budget.calibration";
constexpr const char* kDecodes =
    "~ decodes codes to FP32 for every product, as no deployment would: not the format's speed\n";
constexpr const char* kBusy =
    "* BUSY machine: several threads without a free core each, or free cores that changed by more "
    "than 10 %\n";

// A calibration text that only the layer report read has no part in any figure that is stamped.
bool Concerns(const RecordFields& fields, const std::string& path) {
  return !path.starts_with("calibration.") ||
         fields.TextOr("calibration.used_by", "method") == "method";
}

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

// What is said at length of a flag that is a stamp.
std::string FlagLine(const RecordFields& fields, const RecordField& field) {
  if (field.path == "dataset.substituted_sample")
    return SampleLine(fields.Text("dataset.name"), fields.TextOr("dataset.split", ""));
  for (const char* section : {"calibration", "finetune", kBudgetText})
    if (field.path == std::string(section) + ".contaminated")
      return ContaminatedLine(fields, section);
  if (field.path == "finetune.substituted_sample")
    return SampleLine(fields.Text("finetune.dataset"), fields.TextOr("finetune.split", ""));
  if (field.path == "throughput.busy") return kBusy;
  if (field.path == "model.decoded") return DecodedLines(fields);
  if (field.path == "protocol.interrupted") return InterruptedLine(fields);
  return field.path == "simulated_vs_kernel.failed" ? std::string(field.stamp.text) + "\n" : "";
}

void AddFlags(const RecordFields& fields, Stamps& stamps) {
  for (const RecordField& field : RecordSchema()) {
    if (field.stamp.letter == 0 || !fields.Flag(field.path) || !Concerns(fields, field.path))
      continue;
    stamps.push_back({field.path.substr(0, field.path.find('.')),
                      {field.stamp.letter, std::string(field.stamp.text), field.stamp.of_speed},
                      FlagLine(fields, field)});
  }
}

// Of candidates, and of a reference that is decoded from another tool's folder. What is said at
// length stands among all that is noticed of them.
void AddDoubts(const RecordFields& fields, Stamps& stamps) {
  const auto add = [&](const char* path, const std::string& whose) {
    const std::vector<std::string> doubts = NotesAt(fields, path).doubts;
    if (!doubts.empty()) stamps.push_back({path, {kDoubt, DoubtText(whose, doubts), false}});
  };
  add(kCandidateNotes, fields.Text("method"));
  add(kReferenceNotes, kReference);
}

void AddPartial(const RecordFields& fields, Stamps& stamps) {
  if (!fields.Has("protocol.cut_from_windows")) return;
  const size_t windows = fields.Count("protocol.windows");
  const size_t all = fields.Count("protocol.cut_from_windows");
  stamps.push_back({"protocol",
                    {'P', fmt::format("partial: {} of {} windows", windows, all), false},
                    fields.Flag("protocol.interrupted")
                        ? ""
                        : PartialLine(windows, all, fields.Flag("protocol.stopped_early"))});
}

void AddUnknown(const RecordFields& fields, const std::string& section, Stamps& stamps) {
  const std::string path = section + ".too_much_unknown";
  if (!fields.Flag(path) || !Concerns(fields, path)) return;
  const std::string whose = section == "protocol"   ? ""
                            : section == "finetune" ? "training"
                                                    : "calibration";
  const double tokens = fields.NotNegative(section + ".unknown_share");
  const double bytes = fields.NotNegative(section + ".unknown_bytes_share");
  const std::string text =
      fmt::format("UNKNOWN TOKENS: {:.1f} % of the {}", 100 * std::max(tokens, bytes),
                  whose.empty() ? "text" : whose + " text");
  stamps.push_back({section.substr(0, section.find('.')),
                    {'U', text, false},
                    UnknownTokensLine(whose.empty() ? "test" : whose, tokens, bytes)});
}

// Of matrices whose codes are another method's than the one that was asked for.
void AddOtherMethods(const RecordFields& fields, Stamps& stamps) {
  for (const RecordFields& layer : fields.Maps("layers")) {
    if (!layer.Has("asked")) continue;
    const std::string text = fmt::format("{} has the codes of {}, not of {}", layer.Text("name"),
                                         layer.Text("method"), layer.Text("asked"));
    const std::string note = layer.TextOr("note", "");
    stamps.push_back(
        {"layers", {'O', text, false}, text + (note.empty() ? "" : ": ") + note + "\n"});
  }
}

// Records that do not say which matrices were decoded name those without kernels.
void AddDecoding(const RecordFields& fields, Stamps& stamps) {
  const bool timed = !fields.Maps("throughput.prefill_tokens_s").empty() ||
                     !fields.Maps("throughput.decode_tokens_s").empty();
  const bool decodes = fields.TextOr("path", "kernel") == "simulated" ||
                       fields.Has("simulated_linears") ||
                       fields.Has("throughput.decoded_each_call");
  if (timed && decodes) {
    stamps.push_back({"throughput",
                      {'D', "DECODES codes for every product: not the format's speed", true},
                      kDecodes});
  }
}

Stamps Find(const RecordFields& fields) {
  Stamps stamps;
  AddDoubts(fields, stamps);
  AddPartial(fields, stamps);
  AddUnknown(fields, "protocol", stamps);
  AddUnknown(fields, "calibration", stamps);
  AddUnknown(fields, "finetune", stamps);
  AddUnknown(fields, kBudgetText, stamps);
  AddFlags(fields, stamps);
  AddOtherMethods(fields, stamps);
  AddDecoding(fields, stamps);
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
    if (found.section == section && !found.line.empty()) lines.push_back(std::move(found.line));
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
