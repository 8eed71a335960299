#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "eval/compare_cells.h"
#include "eval/compare_gate.h"
#include "eval/compare_report.h"
#include "eval/environment.h"
#include "eval/guarded.h"
#include "eval/record_reader.h"
#include "eval/version.h"

namespace quantref {
namespace {

struct CompareOptions {
  std::string baseline, candidate, gate_file, format = "text";
  bool gated = false;
};

std::string Render(const RecordComparison& comparison, const Gate& gate,
                   const CompareOptions& options) {
  if (options.format == "markdown") return ComparisonMarkdown(comparison, gate, options.gated);
  if (options.format == "json") return ComparisonJson(comparison, gate, options.gated);
  if (options.format == "junit") return ComparisonJUnit(comparison, gate);
  return ComparisonText(comparison, gate, options.gated);
}

int Compare(const CompareOptions& options) {
  const Gate gate = options.gate_file.empty() ? Gate{} : ReadGate(options.gate_file);
  const size_t threads = CoreCount();
  const RecordSet baseline = ReadRecords(options.baseline, threads);
  const RecordSet candidate = ReadRecords(options.candidate, threads);
  const RecordComparison comparison =
      CompareSets(baseline, candidate, gate.accuracy.resolution_nll, threads);
  if (!baseline.is_folder && !candidate.is_folder) RequireComparable(comparison);
  const std::string text = Render(comparison, gate, options);
  std::fwrite(text.data(), 1, text.size(), stdout);
  return options.gated && GateFailures(gate, comparison) > 0 ? kExitGateFailed : 0;
}

// So that `--gate BASELINE` is no gate file.
std::string RequireYaml(const std::string& file) {
  const bool is_yaml = file.empty() || file.ends_with(".yaml") || file.ends_with(".yml");
  return is_yaml ? "" : "expected a *.yaml file, found '" + file + "'; or put --gate last";
}

int Main(int argc, char** argv) {
  CLI::App app("Says what changed between two sets of records of the same experiments.",
               "compare_results");
  CompareOptions options;
  app.add_option("BASELINE", options.baseline, "a record, or a folder of records")->required();
  app.add_option("CANDIDATE", options.candidate, "a record, or a folder of records")->required();
  auto* gate = app.add_option("--gate", options.gate_file,
                              "exit with 1 if a cell is beyond the limits (default: those that "
                              "results/gate.yaml shows)")
                   ->expected(0, 1)
                   ->check(RequireYaml)
                   ->type_name("[GATE.yaml]");
  app.add_option("--format", options.format, "text, markdown, json or junit")
      ->check(CLI::IsMember({"text", "markdown", "json", "junit"}))
      ->type_name("FORMAT");
  app.set_version_flag("--version", fmt::format("QuantRef {} ({}{})", kVersion, kGitCommit,
                                                kGitDirty ? ", changed" : ""));
  app.footer("exit codes: 0 done, 1 a gate failed, 2 wrong input, 3 a bug");
  return GuardedMain(app, argc, argv, [&] {
    options.gated = gate->count() > 0;
    return Compare(options);
  });
}

}  // namespace
}  // namespace quantref

int main(int argc, char** argv) { return quantref::Main(argc, argv); }
