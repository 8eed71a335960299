#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "eval/support/command_line.h"
#include "eval/support/files.h"
#include "eval/support/guarded.h"
#include "eval/support/say.h"
#include "eval/support/terminal.h"
#include "eval/support/text_table.h"
#include "eval/table/analysis.h"
#include "eval/table/cells.h"
#include "eval/table/check.h"
#include "eval/table/render.h"
#include "eval/table/results.h"
#include "eval/table/results_cells.h"
#include "eval/table/results_ledger.h"
#include "harness/base/error.h"
#include "harness/base/machine.h"
#include "harness/io/file.h"

namespace quantref {
namespace {

constexpr char kSpecHint[] = "make_tables SPEC.yaml; results/tables/README.md has what specs say";

struct TableOptions {
  std::vector<std::string> what;  // one spec, or records
  std::string spec, format, out;
  std::vector<std::string> records, columns;
  bool check = false;
};

TableFormat FormatNamed(const std::string& name) {
  const std::vector<std::string>& names = TableFormatNames();
  return TableFormat(std::find(names.begin(), names.end(), name) - names.begin());
}

std::vector<TableFormat> FormatsToCheck(const TableSpec& spec, const std::string& format) {
  std::vector<TableFormat> formats;
  for (const auto& [known, path] : spec.outputs) {
    if (format.empty() || known == FormatNamed(format)) formats.push_back(known);
  }
  if (formats.empty()) {
    throw Error(fmt::format("expected a file for {} to check, found none",
                            format.empty() ? "any format" : format),
                spec.file + ": outputs", "for example outputs: {latex: table.tex}");
  }
  return formats;
}

void Write(const std::string& text, const std::string& out) {
  out.empty() ? PrintWhole(text) : WriteFileAtomically(out, text, true);
}

// Records without a spec: what run_eval printed when it wrote them, or the same table in a format
// of specs.
std::string TextOfRecords(const TableOptions& options) {
  const TableFormat format =
      options.format.empty() ? TableFormat::kText : FormatNamed(options.format);
  if (format != TableFormat::kText && !options.columns.empty())
    throw Error("chooses among the columns of text", "--columns", "a spec names columns");
  const auto files = MatchFiles(std::filesystem::current_path(), options.what);
  const std::vector<Results> runs = ReadResults(files, CoreCount());
  if (format != TableFormat::kText) {
    if (runs.size() == 1) return ResultsAs(runs[0], format);
    throw Error(fmt::format("expected the records of one run on the same windows, found those of "
                            "{}",
                            Plural(runs.size(), "run")),
                "--format " + options.format, "give the records of one, or a spec");
  }
  const TableView view{options.out.empty() ? LineWidth(STDOUT_FILENO) : std::nullopt,
                       options.columns};
  std::string text;
  for (const Results& results : runs)
    text += ResultText(results, view) + LedgersText(results, view);
  return text;
}

int ShowRecords(const TableOptions& options) {
  for (const auto& [given, option] :
       {std::pair(!options.records.empty(), "--records"), std::pair(options.check, "--check")}) {
    if (given) throw Error("expected a spec beside it, found records alone", option, kSpecHint);
  }
  CheckColumns(options.columns);
  Write(TextOfRecords(options), options.out);
  return 0;
}

// What the spec makes of the records, in a format, for lines of a width.
using TableText = std::function<std::string(TableFormat format, std::optional<size_t> width)>;

TableText TextOf(const TableSpec& spec, const TableRecords& records, size_t threads) {
  if (spec.analysis.empty()) {
    return [table = MakeTable(spec, records, threads)](TableFormat format, auto width) {
      return TableAs(table, format, width);
    };
  }
  return
      [&spec, &records, table = Analyze(spec, records, threads)](TableFormat format, auto width) {
        return AnalysisAs(table, spec, records, format, width);
      };
}

int MakeTables(const TableOptions& options) {
  TableSpec spec = ReadTableSpec(options.spec);
  if (!options.records.empty()) spec.records.clear();
  for (const std::string& path : options.records)
    spec.records.push_back(std::filesystem::absolute(path).string());
  const std::vector<TableFormat> to_check =
      options.check ? FormatsToCheck(spec, options.format) : std::vector<TableFormat>{};
  const size_t threads = CoreCount();
  const TableRecords records = ReadTableRecords(spec, threads);
  const TableText text_as = TextOf(spec, records, threads);
  if (options.check) {
    const std::string wrong = CheckOutputs(
        spec, records, to_check, [&](TableFormat format) { return text_as(format, std::nullopt); });
    PrintWhole(wrong);
    return wrong.empty() ? 0 : kExitGateFailed;
  }
  if (options.format.empty() && options.out.empty() && !spec.outputs.empty()) {
    for (const auto& [format, path] : spec.outputs) {
      WriteFileAtomically(path, text_as(format, std::nullopt), true);
      PrintWhole(path.string() + "\n");
    }
    return 0;
  }
  const TableFormat format =
      options.format.empty() ? TableFormat::kMarkdown : FormatNamed(options.format);
  const auto width = options.out.empty() ? LineWidth(STDOUT_FILENO) : std::nullopt;
  Write(text_as(format, width), options.out);
  return 0;
}

bool IsSpec(const std::string& path) { return path.ends_with(".yaml") || path.ends_with(".yml"); }

int Make(TableOptions options) {
  const auto specs = std::count_if(options.what.begin(), options.what.end(), IsSpec);
  if (specs == 0) return ShowRecords(options);
  if (options.what.size() > 1)
    throw Error("expected one spec, or records", "command line",
                "records for a spec: make_tables SPEC.yaml --records PATH");
  if (!options.columns.empty())
    throw Error("a spec names its columns itself", "--columns", kSpecHint);
  options.spec = options.what[0];
  return MakeTables(options);
}

int Main(int argc, char** argv) {
  CommandLine line("make_tables", "Makes the tables of a paper from records.");
  TableOptions options;
  line.Add("SPEC.yaml|RECORDS", options.what,
           "a spec of rows, columns and metrics (results/tables/README.md); or records, folders of "
           "them and baselines: the tables that run_eval printed of them",
           {.required = true});
  line.Add("--format", options.format,
           "latex, markdown, csv, html or text; without it, of a spec all files that its 'outputs' "
           "names are written, or Markdown is printed, of records text",
           {.value = "FORMAT", .one_of = TableFormatNames()});
  line.Add("--records", options.records,
           "instead of the spec's: records, folders of them, or globs; several times",
           {.value = "PATH", .one_each = true});
  line.Add("--out", options.out, "write to this file", {.value = "FILE"});
  line.Add("--columns", options.columns, "of records alone: as run_eval's",
           {.value = "A,B", .separator = ','});
  line.AddFlag("--check", options.check,
               "write nothing; exit with 1 if a file that 'outputs' names is not what the records "
               "give now");
  line.Exclude("--check", "--out");
  line.Footer(
      "exit codes: 0 done, 1 a table is out of date, 2 wrong input or interrupted, 3 a bug");
  return GuardedMain(line, argc, argv, [&] { return Make(options); });
}

}  // namespace
}  // namespace quantref

int main(int argc, char** argv) { return quantref::Main(argc, argv); }
