#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <set>

#include "eval/record/change.h"
#include "eval/record/protocol_text.h"
#include "eval/stats/stats.h"
#include "eval/support/text_table.h"
#include "eval/table/render.h"

namespace quantref {
namespace {

using Sentences = std::vector<std::string>;

// More different texts, models or machines than this are counted instead of listed.
constexpr size_t kMostListed = 6;

// The distinct texts in the order of their first appearance.
class Mentions {
 public:
  void Add(const std::string& text) {
    if (!text.empty() && seen_.insert(text).second) list_.push_back(text);
  }
  bool empty() const { return list_.empty(); }

  std::string Text(const std::string& what) const {
    if (list_.size() > kMostListed)
      return fmt::format("{} different {}, named in the records", list_.size(), what);
    return fmt::format("{}", fmt::join(list_, "; "));
  }

 private:
  std::set<std::string> seen_;
  Sentences list_;
};

template <typename F>
void ForEachCell(const Table& table, F&& visit) {
  for (const auto& row : table.cells) {
    for (size_t c = 0; c < row.size(); ++c) {
      if (row[c]) visit(*row[c], *table.columns[c].shows);
    }
  }
}

bool IsAccuracy(const TableMetric& metric) { return metric.path.starts_with("accuracy."); }

std::string ModelText(const TableRecord& record) {
  if (record.synthetic) return record.stored.cell.model + " (random weights)";
  const StoredRecord& stored = record.stored;
  std::string text =
      fmt::format("{} (weights {}", stored.cell.model, ShortHash(stored.Fact("model.sha256")));
  if (stored.Fact("model.dtype") != "native") text += ", as " + stored.Fact("model.dtype");
  if (stored.Fact("model.outliers") != "none") text += ", with planted outliers";
  return text + ")";
}

void AddOrigins(const Table& table, Sentences& caption) {
  Mentions protocols, models, calibrations;
  ForEachCell(table, [&](const TableCell& cell, const TableValue& shows) {
    const TableRecord& record = *cell.record;
    models.Add(ModelText(record));
    if (!IsAccuracy(*shows.metric)) return;
    const StoredRecord& stored = record.stored;
    protocols.Add(fmt::format(
        "{} on {} (text {}, tokens {}), {} windows, {} scored tokens",
        ProtocolText(stored.cell.protocol, stored.Fact("protocol.bos") != "false"), record.text,
        ShortHash(record.text_sha256), ShortHash(stored.Fact("protocol.token_sha256")),
        WithThousands(stored.window_nll.size()),
        WithThousands(static_cast<size_t>(record.scored))));
    calibrations.Add(record.calibration);
  });
  if (!protocols.empty()) caption.push_back("Protocol: " + protocols.Text("protocols") + ".");
  if (!models.empty()) caption.push_back("Model: " + models.Text("models") + ".");
  if (!calibrations.empty())
    caption.push_back("Calibration: " + calibrations.Text("calibrations") + ".");
}

void AddMachines(const Table& table, Sentences& caption) {
  Mentions speeds, machines;
  ForEachCell(table, [&](const TableCell& cell, const TableValue& shows) {
    if (cell.point == nullptr) return;
    const bool prefill = shows.metric->IsPrefill();
    speeds.Add(fmt::format("{} of {} tokens on {}", prefill ? "prefill" : "decode",
                           cell.point->tokens, Plural(cell.point->threads, "thread")));
    const StoredRecord& stored = cell.record->stored;
    machines.Add(fmt::format("{} on {}, commit {}", stored.Fact("environment.isa"),
                             stored.Fact("environment.cpu"),
                             ShortHash(stored.Fact("tool.git_commit"))));
  });
  if (speeds.empty()) return;
  caption.push_back(
      fmt::format("Speeds: medians of {}; {}.", speeds.Text("speeds"), machines.Text("machines")));
}

// Of which kinds of figures some cell shows a half width, or an interval.
struct Shown {
  bool half = false, interval = false;

  void Add(const NumberText& text) {
    half = half || text.half;
    interval = interval || text.low;
  }
  void Say(Sentences& caption, const std::string& of, const std::string& what) const {
    if (half) caption.push_back(of + "± is half " + what + ".");
    if (interval)
      caption.push_back(of + (half ? "brackets hold it whole." : "brackets hold " + what + "."));
  }
};

void AddUncertainty(const Table& table, Sentences& caption) {
  Shown accuracy, speeds, ratios;
  bool few = false, many = false;  // windows
  ForEachCell(table, [&](const TableCell& cell, const TableValue& shows) {
    const NumberText text = CellNumber(cell, shows);
    if (IsAccuracy(*shows.metric))
      (cell.record->stored.window_nll.size() < kBootstrapBlocks ? few : many) = true;
    if (!shows.metric->IsSpeed()) accuracy.Add(text);
    if (shows.metric->IsSpeed()) (shows.metric->IsRatio() ? ratios : speeds).Add(text);
  });
  const std::string few_windows = fmt::format(
      "{}Student's t", many ? fmt::format(", of fewer than {} windows ", kBootstrapBlocks) : "");
  accuracy.Say(caption, "Of accuracy, ",
               fmt::format("the 95 % interval over windows ({}{}; of changes, paired)",
                           many ? "bootstrap-t" : "", few ? few_windows : ""));
  speeds.Say(caption, "Of speeds, ", "the interquartile range");
  ratios.Say(caption, "Of ratios to FP16, ", "the 95 % interval by Mann and Whitney's test");
}

std::string Capitalized(std::string word) {
  word[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(word[0])));
  return word;
}

void AddMarks(const Table& table, const std::string& bold, Sentences& caption) {
  bool best = false, tied = false, speed = false, accuracy = false;
  ForEachCell(table, [&](const TableCell& cell, const TableValue& shows) {
    best = best || cell.mark == CellMark::kBest;
    tied = tied || cell.mark == CellMark::kTied;
    if (cell.mark == CellMark::kNone) return;
    (shows.metric->IsSpeed() ? speed : accuracy) = true;
  });
  const TableSpec& spec = *table.spec;
  std::string where = spec.compare_rows ? "its row" : "its column";
  if (!spec.within.empty())
    where += fmt::format(" among those of equal {}", fmt::join(spec.within, " and "));
  std::string test;
  if (accuracy) test = "the 95 % interval of the paired difference from every other";
  if (speed)
    test += (accuracy ? "; of speeds, that" : "the 95 % interval") +
            std::string(" of the ratio by Mann and Whitney's test");
  if (best) {
    caption.push_back(fmt::format("{}: the best of {}, where it is no tie with any other ({}).",
                                  Capitalized(bold), where, test));
  }
  if (tied) {
    caption.push_back(fmt::format("†: the best of {} or tied with it; then none is {}{}.", where,
                                  bold,
                                  best ? "" : fmt::format(" (no tie: {} excludes one)", test)));
  }
  for (const std::string& more : table.more_bits) caption.push_back(more);
  for (const std::string& why : table.unmarked)
    caption.push_back(fmt::format("Where {}, no best is marked.", why));
}

void AddStamps(const Table& table, Sentences& caption) {
  std::set<Stamp> stamps;
  ForEachCell(table, [&](const TableCell& cell, const TableValue&) {
    stamps.insert(cell.stamps.begin(), cell.stamps.end());
  });
  if (stamps.size() <= kMostListed) {
    for (const Stamp& stamp : stamps)
      caption.push_back(fmt::format("{}: {}.", stamp.letter, stamp.text));
    return;
  }
  std::set<char> letters;  // one of each: the numbers of windows may be many
  for (const Stamp& stamp : stamps) {
    if (letters.insert(stamp.letter).second)
      caption.push_back(fmt::format("{}: {}, or alike.", stamp.letter, stamp.text));
  }
}

void AddAnswers(const Table& table, Sentences& caption) {
  if (table.answers.empty()) return;
  caption.push_back(
      "Answers: by the 95 % interval of the figure, or of the paired difference of two cells, each "
      "case on its own, without correction for their number; open: it holds both.");
}

}  // namespace

CaptionParts TableCaptionParts(const Table& table, const std::string& bold) {
  const std::string& title = table.spec->title;
  CaptionParts parts;
  parts.caption.push_back(title.ends_with('.') ? title : title + ".");
  if (!table.spec->note.empty()) parts.caption.push_back(table.spec->note);
  AddStamps(table, parts.caption);
  AddOrigins(table, parts.note);
  AddMachines(table, parts.note);
  AddUncertainty(table, parts.note);
  AddMarks(table, bold, parts.note);
  AddAnswers(table, parts.note);
  return parts;
}

std::vector<std::string> TableAnswers(const Table& table) {
  Sentences lines;
  for (const TableAnswer& answer : table.answers) lines.push_back(answer.ask + " " + answer.text);
  return lines;
}

std::vector<std::string> TableCaption(const Table& table, const std::string& bold) {
  CaptionParts parts = TableCaptionParts(table, bold);
  parts.caption.insert(parts.caption.end(), parts.note.begin(), parts.note.end());
  return parts.caption;
}

}  // namespace quantref
