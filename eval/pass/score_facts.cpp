#include "eval/pass/score_facts.h"

#include <fmt/format.h>

#include "eval/candidate/candidate.h"
#include "eval/cost/environment.h"
#include "eval/pass/ledger_steps.h"
#include "eval/support/version.h"
#include "harness/base/sha256.h"
#include "harness/kernels/gemm.h"
#include "harness/kernels/isa.h"

namespace quantref {
namespace {

const char* PathName(const GroupCell& cell) {
  return cell.path.UsesKernels() ? "kernel" : "simulated";
}

std::string NameOfCell(const GroupCell& cell) {
  return fmt::format("{} {}", cell.config->name, cell.label);
}

constexpr char kWindowsAsked[] = "windows asked for";

// Of several of one name all are told.
void Add(const std::string& name, const std::string& value, Facts& facts) {
  std::string& fact = facts[name];
  fact += (fact.empty() ? "" : "; ") + value;
}

}  // namespace

Facts OriginFacts(const GroupContext& group) {
  return {{"program", fmt::format("{} of commit {}", ProgramSha256(), kGitCommit)},
          {"ISA", IsaName(ActiveIsa())},
          {"BLAS", fmt::format("{}, {} kernels", BlasVersion(), BlasCoreType())},
          {"the model's weights", group.model->weights.checkpoint->Sha256()},
          {"the model's config", group.model->config.sha256},
          {"the tokenizer", group.model->tokenizer.sha256()}};
}

Facts CandidateFacts(const GroupCell& cell, size_t threads) {
  const Model& own = cell.candidate->model;
  const std::string name = fmt::format("candidate {} ({})", NameOfCell(cell), own.name);
  return {{"the files of " + name, own.weights.checkpoint->Sha256(threads)},
          {"the config of " + name, own.config.sha256}};
}

std::pair<std::string, std::string> ConfigFact(const RunConfig& config) {
  return {"config " + config.name, Sha256Hex(config.ResolvedForScores())};
}

Facts CellFacts(const GroupContext& group, const GroupCell& cell) {
  Facts facts = {{"the weights of " + NameOfCell(cell),
                  fmt::format("{}, {}", cell.weights_sha256, PathName(cell))}};
  // What its blocks decode to is in no hash of weights.
  if (cell.candidate != nullptr) facts.merge(CandidateFacts(cell, group.threads));
  return facts;
}

Facts ScoreFacts(const GroupContext& group, const Pass& cells) {
  Facts facts = OriginFacts(group);
  facts["the text"] = group.text.sha256;
  facts["the tokens"] = group.stream.sha256;
  facts["windows of the text"] = fmt::format("{}", group.all_windows);
  facts[kWindowsAsked] = fmt::format("{}", group.windows.size());
  for (const RunConfig* config : group.configs) {
    Add("configs", config->name, facts);
    const auto& [name, hash] = ConfigFact(*config);
    Add(name, hash, facts);
  }
  // The reference too: outliers change it. In order, which is that of their scores.
  for (const GroupCell& cell : cells) {
    Add("cells", NameOfCell(cell), facts);
    for (const auto& [name, value] : CellFacts(group, cell)) Add(name, value, facts);
  }
  for (const LedgerRun& run : RunsBetween(group, cells))
    Add("runs of ledgers", fmt::format("{} of row {}", run.step, run.cell->model), facts);
  return facts;
}

std::string TextOf(const Facts& facts) {
  std::string text;
  for (const auto& [name, value] : facts) text += fmt::format("{}: {}\n", name, value);
  return text;
}

std::string Fingerprint(const GroupContext& group, const Pass& cells) {
  Facts facts = ScoreFacts(group, cells);
  facts.erase(kWindowsAsked);
  return Sha256Hex(TextOf(facts));
}

std::string FirstDifference(const Facts& expected, const Facts& found) {
  Facts both = expected;
  both.insert(found.begin(), found.end());
  const auto value = [](const Facts& facts, const std::string& name) {
    const auto fact = facts.find(name);
    return fact == facts.end() ? std::string("none") : fact->second;
  };
  for (const auto& [name, ignored] : both) {
    if (value(expected, name) == value(found, name)) continue;
    return fmt::format("{}: expected {}, found {}", name, value(expected, name),
                       value(found, name));
  }
  return "";
}

}  // namespace quantref
