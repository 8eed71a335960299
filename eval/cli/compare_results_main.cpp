#include <unistd.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "eval/compare/baseline.h"
#include "eval/compare/cells.h"
#include "eval/compare/gate.h"
#include "eval/compare/report.h"
#include "eval/record/reader.h"
#include "eval/support/command_line.h"
#include "eval/support/guarded.h"
#include "eval/support/say.h"
#include "eval/support/terminal.h"
#include "eval/support/text_table.h"
#include "harness/base/machine.h"

namespace quantref {
namespace {

constexpr int kMostRecords = 1 << 20;  // paths on a command line

struct CompareOptions {
  std::string baseline, gate_file, format = "text", new_baseline;
  std::vector<std::string> candidates;  // one, unless a baseline is written
  bool gated = false;
};

std::string Render(const RecordComparison& comparison, const Gate& gate,
                   const CompareOptions& options) {
  if (options.format == "markdown") return ComparisonMarkdown(comparison, gate, options.gated);
  if (options.format == "json") return ComparisonJson(comparison, gate, options.gated);
  if (options.format == "junit") return ComparisonJUnit(comparison, gate);
  return ComparisonText(comparison, gate, options.gated, LineWidth(STDOUT_FILENO));
}

int MakeBaseline(const CompareOptions& options) {
  std::vector<std::string> records = options.candidates;
  records.insert(records.begin(), options.baseline);
  PrintWhole(Printable(WriteBaseline(options.new_baseline, records, CoreCount())) + "\n");
  return 0;
}

int Compare(const CompareOptions& options) {
  const Gate gate = options.gate_file.empty() ? Gate{} : ReadGate(options.gate_file);
  const size_t threads = CoreCount();
  const RecordSet baseline = ReadRecords(options.baseline, threads);
  const RecordSet candidate = ReadRecords(options.candidates[0], threads);
  const RecordComparison comparison =
      CompareSets(baseline, candidate, gate.accuracy.resolution_nll, threads, gate.speed.limits);
  if (!baseline.is_set && !candidate.is_set) RequireComparable(comparison);
  const std::string text = Render(comparison, gate, options);
  PrintWhole(text);
  return options.gated && GateFailures(gate, comparison).cells > 0 ? kExitGateFailed : 0;
}

// So that `--gate BASELINE` is no gate file.
std::string RequireYaml(const std::string& file) {
  const bool is_yaml = file.empty() || file.ends_with(".yaml") || file.ends_with(".yml");
  return is_yaml ? "" : "expected a *.yaml file, found '" + file + "'; or put --gate last";
}

void DefineOptions(CommandLine& line, CompareOptions& options, bool writes) {
  line.Add("BASELINE", options.baseline, "a record, a folder of records, or a baseline",
           {.required = true});
  // Required, it is not mistaken for the file of --gate.
  line.Add("CANDIDATE", options.candidates, "the same, to be compared with it",
           {.value = "", .required = !writes, .count = {{1, writes ? kMostRecords : 1}}});
  line.Add("--gate", options.gate_file,
           "exit with 1 if a cell is beyond the limits (default: those that results/gate.yaml "
           "shows)",
           {.value = "[GATE.yaml]", .check = RequireYaml, .count = {{0, 1}}});
  line.Add("--format", options.format, "text, markdown, json or junit",
           {.value = "FORMAT", .one_of = {"text", "markdown", "json", "junit"}});
  line.Add("--write-baseline", options.new_baseline,
           "compare nothing: list the newest record of each cell of the records and folders given "
           "in FILE, a new baseline or in place of one",
           {.value = "FILE"});
  line.Exclude("--write-baseline", "--gate");
  line.Footer("exit codes: 0 done, 1 a gate failed, 2 wrong input or interrupted, 3 a bug");
}

int Main(int argc, char** argv) {
  CommandLine line("compare_results",
                   "Says what changed between two sets of records of the same experiments.");
  CompareOptions options;
  const bool writes = std::any_of(argv, argv + argc, [](std::string_view argument) {
    return argument.starts_with("--write-baseline");
  });
  DefineOptions(line, options, writes);
  return GuardedMain(line, argc, argv, [&] {
    options.gated = line.Given("--gate");
    return line.Given("--write-baseline") ? MakeBaseline(options) : Compare(options);
  });
}

}  // namespace
}  // namespace quantref

int main(int argc, char** argv) { return quantref::Main(argc, argv); }
