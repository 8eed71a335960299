#include <fmt/format.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "eval/config/run_config.h"
#include "eval/config/schema.h"
#include "eval/config/sections.h"
#include "eval/record/schema_page.h"
#include "eval/run/run.h"
#include "eval/support/command_line.h"
#include "eval/support/guarded.h"
#include "eval/support/interrupt.h"
#include "eval/support/mute.h"
#include "eval/support/option_values.h"
#include "eval/support/resources.h"
#include "eval/support/say.h"
#include "eval/support/terminal.h"
#include "eval/support/text_table.h"
#include "eval/table/results.h"
#include "eval/team/open_workers.h"
#include "eval/text/dataset.h"
#include "eval/text/protocol.h"
#include "harness/base/cancel.h"
#include "harness/base/error.h"
#include "harness/base/machine.h"
#include "harness/export/export.h"
#include "harness/kernels/gemm.h"
#include "harness/kernels/isa.h"
#include "harness/model/family.h"
#include "harness/quant/format.h"
#include "quantizers/registry.h"

namespace quantref {
namespace {

constexpr size_t kMostWindows = 1'000'000'000, kMostThreads = 1024;
constexpr double kRankTimeout = 60, kMostRankTimeout = 1e6;
constexpr double kLeastMemoryGb = 1e-6, kMostMemoryGb = 1e6;

// A line for the plugin, and one for each of its knobs.
void AddPlugin(const Plugin& plugin, const std::string& kind,
               std::vector<std::vector<std::string>>& rows) {
  rows.push_back({std::string(plugin.name()), fmt::format("{}: {}", kind, plugin.summary())});
  for (const Knob& knob : plugin.knobs()) {
    const std::string otherwise = knob.kind == Knob::Kind::kFlag
                                      ? (knob.otherwise != 0 ? "true" : "false")
                                      : fmt::format("{:g}", knob.otherwise);
    rows.push_back({fmt::format("  {}.{}", plugin.name(), knob.name),
                    fmt::format("{} (default {})", knob.about, otherwise)});
  }
}

void PrintList(const std::string& kind) {
  if (kind == "configs") return PrintWhole(ConfigsText(LineWidth(STDOUT_FILENO)));
  if (kind == "keys") return PrintWhole(ConfigKeysText(LineWidth(STDOUT_FILENO)));
  if (kind == "schema") return PrintWhole(ConfigSchema());
  if (kind == "fields") return PrintWhole(FieldsPage());
  if (kind == "record") return PrintWhole(FieldsJson());
  std::vector<std::vector<std::string>> rows;
  if (kind == "quantizers") {
    rows.push_back({"fp16, bf16 or fp32",
                    "the reference, called by what the checkpoint's weights are; always measured"});
    for (const Rounder* rounder : Rounders()) AddPlugin(*rounder, "rounder", rows);
    for (const Transform* transform : Transforms()) AddPlugin(*transform, "transform", rows);
    for (const ModelTransform* transform : ModelTransforms())
      AddPlugin(*transform, "transform of the whole model", rows);
    rows.push_back(
        {kQatMethod, "training, behind a rounder (gptq+qat): while weights are rounded"});
    rows.push_back(
        {kLoraMethod, "training, behind a rounder (rtn+lora): of adapters beside codes"});
    rows.push_back({kFullMethod, "training: of the reference's weights as they are"});
  } else if (kind == "protocols") {
    for (const Protocol& protocol : Protocols())
      rows.push_back({NamePattern(protocol), protocol.summary});
  } else if (kind == "metrics") {
    for (const MetricInfo& metric : KnownMetrics()) rows.push_back({metric.name, metric.about});
  } else if (kind == "families") {
    for (const Family& family : Families())
      rows.push_back({std::string(family.model_type), std::string(family.models)});
  } else if (kind == "formats") {
    for (const NumberFormat* format : NumberFormats())
      rows.push_back({std::string(format->name), std::string(format->about)});
  } else if (kind == "exports") {
    for (const ExportFormat* format : ExportFormats())
      rows.push_back({std::string(format->name), std::string(format->about)});
  } else if (kind == "models") {
    for (const std::string& model : BundledModels())
      rows.push_back({model, FindModel(model).string()});
    for (const FetchableModel& model : FetchableModels()) {
      rows.push_back(
          {model.name, model.IsThere()
                           ? model.path.string()
                           : fmt::format("{}, {} MB: scripts/fetch_model {}", model.about,
                                         model.bytes / 1'000'000, model.name)});
    }
  } else if (kind == "datasets") {
    for (const DatasetInfo& dataset : KnownDatasets()) {
      std::string splits;
      for (const SplitFile& file : dataset.files)
        splits += (splits.empty() ? "" : ", ") + file.split;
      rows.push_back({dataset.name, fmt::format("{} ({})", dataset.about, splits)});
    }
  } else {
    for (Isa isa : KnownIsas()) {
      const char* state = isa == ActiveIsa() ? "in use"
                          : CpuHas(isa)      ? "available"
                                             : "not on this CPU";
      rows.push_back({IsaName(isa), state});
    }
    rows.push_back({"blas", fmt::format("{}, {} kernels", BlasVersion(), BlasCoreType())});
  }
  PrintWhole(RenderList(rows, LineWidth(STDOUT_FILENO)));
}

std::vector<std::string> ExportNames() {
  std::vector<std::string> names;
  for (const ExportFormat* format : ExportFormats()) names.emplace_back(format->name);
  return names;
}

void DefineLedger(CommandLine& line, LedgerOptions& ledger) {
  line.AddFlag("--ledger", ledger.asked,
               "say where each cell's change comes from: weights, activations, cache and kernels, "
               "and which blocks and kinds of matrices");
  line.Add("--ledger-text", ledger.text,
           "blocks and kinds on windows of this text: calibration (default), or test, whose "
           "findings must not be used to choose by",
           {.value = "TEXT", .one_of = {kLedgerCalibration, kLedgerTest}});
  line.Add("--ledger-windows", ledger.windows,
           "on so many of them (default: 16); 0: no blocks and kinds",
           {.value = "N", .check = WholeNumber(0, kMostWindows)});
}

void DefineOptions(CommandLine& line, RunOptions& options) {
  line.Add("CONFIG", options.configs, "YAML files (configs/README.md has the keys)");
  line.Add("--set", options.assignments, "override a config key; repeatable",
           {.value = "KEY=VALUE", .one_each = true});
  line.Add("--candidate", options.candidates,
           "a quantized checkpoint made elsewhere (a .gguf file, a folder), as a cell; repeatable",
           {.value = "LABEL=PATH", .one_each = true});
  line.Add("--methods", options.methods,
           "only these cells beside the reference; fp16 or reference: that alone",
           {.value = "A,B", .separator = ','});
  line.Add("--columns", options.columns,
           fmt::format("of the table: some of {}, in that order; or all (default: as many as the "
                       "terminal has room for)",
                       fmt::join(ResultColumnNames(), ", ")),
           {.value = "A,B", .separator = ','});
  line.Add("--windows", options.windows, "only the first N windows (marked in the record)",
           {.value = "N", .check = WholeNumber(1, kMostWindows)});
  line.Add("--threads", options.threads, "default: all cores",
           {.value = "N", .check = WholeNumber(1, kMostThreads)});
  line.Add("--out", options.out, "folder of the records (default: results/records)",
           {.value = "DIR"});
  line.Add("--export", options.export_folder,
           "write each quantized cell as a checkpoint into a folder of its own there "
           "(configs/checkpoints.md)",
           {.value = "DIR"});
  line.Add("--export-format", options.export_format,
           "of these: run_eval --list exports (default: pack-quantized)",
           {.value = "NAME", .one_of = ExportNames()});
  line.AddFlag("--dry-run", options.dry_run,
               "print cells, windows, expected time and memory, and stop");
  line.AddFlag("--layers", options.layers, "print what happened to each layer, too");
  line.AddFlag("--weights", options.weights,
               "in the place of all that is measured: how each matrix's weights are distributed, "
               "and how far that foretells the error of rounding them to nearest");
  DefineLedger(line, options.ledger);
  line.AddFlag("--rerun", options.rerun, "measure a study's finished cells, too");
  line.AddFlag("--any-commit", options.any_commit,
               "count records of other commits and of changed trees as finished");
  line.Add("--memory", options.memory_gb,
           "for cells measured together (default: 80 % of what is free)",
           {.value = "GB", .check = Number(kLeastMemoryGb, kMostMemoryGb)});
  line.AddFlag(
      "--resume", options.resume,
      "go on with an interrupted run of the same configs; one that is complete stays as it is");
  line.Add("--shard", options.shard,
           "measure the I-th of N parts of the windows, for merge_shards; in a folder of its own",
           {.value = "I/N"});
  line.AddFlag("--merge", options.merge,
               "CONFIG are folders with the shards of a run: make its records (merge_shards)");
  line.AddFlag("--quiet", options.quiet, "print nothing but errors");
  line.AddFlag("--json", options.json, "print the records instead of the table");
}

// Which options do not go together, and which need others.
void DefineExclusions(CommandLine& line) {
  line.Exclude("--json", "--quiet");
  line.Exclude("--json", "--shard");
  line.Exclude("--export", "--shard");
  line.Require("--export-format", "--export");
  for (const char* given :
       {"--candidate", "--columns", "--windows", "--export", "--layers", "--rerun", "--resume",
        "--shard", "--merge", "--ledger", "--any-commit"})
    line.Exclude("--weights", given);
  for (const char* given : {"--ledger-text", "--ledger-windows"}) line.Require(given, "--ledger");
  for (const char* given :
       {"--set", "--candidate", "--methods", "--windows", "--shard", "--export", "--ledger"})
    line.Exclude("--merge", given);
}

void DefineList(CommandLine& line, std::string& list) {
  line.Add(
      "--list", list,
      "print what there is: configs, keys (of configs), quantizers, protocols, metrics, kernels, "
      "formats, exports, families, models, datasets; schema: of configs, for editors; fields: of "
      "records; record: these for scripts",
      {.value = "KIND",
       .one_of = {"configs", "keys", "schema", "fields", "record", "quantizers", "protocols",
                  "metrics", "kernels", "formats", "exports", "families", "models", "datasets"}});
  line.Footer("exit codes: 0 done, 1 a gate failed, 2 wrong input or interrupted, 3 a bug");
}

// By the thread that looks after the link: the first of the processes speaks, or where that is lost
// another one, which is mute otherwise.
void SayStoppedForAll(const std::string& lost) {
  const bool muted = MessagesAreMuted();
  SetMessagesMuted(false);
  SayStopped(lost);
  SetMessagesMuted(muted);
}

// The processes of the run.
std::unique_ptr<Workers> OpenTeam(const RunOptions& options, double rank_timeout) {
  if (options.merge && IsLaunched())
    throw Error("shards are merged by one process, expected no other, and found several", "mpirun",
                "start merge_shards without it");
  // Shards are for processes that do not know each other, whoever launched them.
  const bool alone = options.merge || !options.shard.empty();
  std::unique_ptr<Workers> workers =
      alone ? std::make_unique<OneProcess>()
            : OpenWorkers(HostName(), rank_timeout,
                          {.here = WasInterrupted, .stop = Interrupt, .say = SayStoppedForAll});
  SetMessagesHeld(false);
  if (!workers->Alone()) ObeyLauncher();
  return workers;
}

// Rank 0 speaks for all; where it is lost, rank 1 does.
void EndTogether(Workers& workers, bool complete) {
  const std::string why = workers.AwaitEnd(complete);
  const bool first_said_it = workers.IsFirst() && !complete;
  if (first_said_it && CancelRequested()) SayStopped();  // where nothing is known of the others
  if (!why.empty() && workers.rank() <= 1 && !first_said_it) {
    SetMessagesMuted(false);
    Say("run_eval: {}\n", why);
  }
  const bool in_peace = complete && why.empty();
  if (!in_peace) SetMessagesMuted(true);  // of the signals by which the launcher ends all
  workers.End(in_peace);
}

int Main(int argc, char** argv) {
  CommandLine line("run_eval",
                   "Quantizes a model as the configs say and measures what that does to it.");
  RunOptions options;
  std::string list;
  double rank_timeout = kRankTimeout;
  DefineOptions(line, options);
  DefineExclusions(line);
  DefineList(line, list);
  line.Add("--rank-timeout", rank_timeout,
           "under mpirun: seconds after which a process that is not heard of is lost (default: 60)",
           {.value = "S", .check = Number(1, kMostRankTimeout)});
  std::unique_ptr<Workers> workers;
  std::optional<MoreGrace> patience;
  bool complete = false;
  SetMessagesHeld(IsSpokenFor());
  const int code = GuardedMain(line, argc, argv, [&] {
    if (!list.empty()) {
      PrintList(list);
    } else if (options.configs.empty()) {
      throw Error(
          options.merge ? "expected at least one folder of shards" : "expected at least one config",
          "command line",
          options.merge ? "for example: merge_shards results/records"
                        : "for example: run_eval configs/int4_g128.yaml");
    } else {
      workers = OpenTeam(options, rank_timeout);
      // Who ends before rank 0 has put away what there is ends it, too.
      if (!workers->IsFirst()) patience.emplace(kMoreGraceSeconds + kLastSeconds);
      const int exit_code = RunEval(options, *workers);
      complete = !CancelRequested();
      return exit_code;
    }
    return 0;
  });
  if (workers != nullptr) EndTogether(*workers, complete);
  return code;
}

}  // namespace
}  // namespace quantref

int main(int argc, char** argv) { return quantref::Main(argc, argv); }
