#include <filesystem>
#include <string>

#include "eval/report/page.h"
#include "eval/support/command_line.h"
#include "eval/support/guarded.h"
#include "eval/support/say.h"
#include "harness/base/machine.h"
#include "harness/io/file.h"

namespace quantref {
namespace {

struct ReportOptions {
  std::string spec, plots, out;
  bool list_records = false;
};

int MakeReport(const ReportOptions& options) {
  const ReportSpec spec = ReadReportSpec(options.spec);
  if (options.list_records) {
    for (const auto& file : ReportRecords(spec)) PrintWhole(file.string() + "\n");
    return 0;
  }
  const std::string page = ReportPage(spec, options.plots, CoreCount());
  std::filesystem::path out = options.out;
  if (out.empty() && !spec.output.empty()) out = spec.Folder() / spec.output;
  if (out.empty()) {
    PrintWhole(page);
  } else {
    WriteFileAtomically(out, page, true);
    PrintWhole(out.string() + "\n");
  }
  return 0;
}

int Main(int argc, char** argv) {
  CommandLine line("make_report", "Makes one self-contained HTML page from records.");
  ReportOptions options;
  line.Add("SPEC.yaml", options.spec, "title, records, tables, baseline (results/report.md)",
           {.required = true});
  line.Add("--plots", options.plots, "every *.svg of this folder becomes a figure",
           {.value = "DIR"});
  line.Add("--out", options.out,
           "write to this file instead of the spec's 'output'; without either the page is printed",
           {.value = "FILE"});
  line.AddFlag("--list-records", options.list_records,
               "print the files of records that the spec names, and make nothing");
  line.Footer("exit codes: 0 done, 2 wrong input or interrupted, 3 a bug");
  return GuardedMain(line, argc, argv, [&] { return MakeReport(options); });
}

}  // namespace
}  // namespace quantref

int main(int argc, char** argv) { return quantref::Main(argc, argv); }
