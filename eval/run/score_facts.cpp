#include "eval/run/score_facts.h"

#include <fmt/format.h>

#include "eval/run/candidate.h"
#include "eval/run/environment.h"
#include "eval/support/version.h"
#include "harness/base/sha256.h"
#include "harness/kernels/gemm.h"
#include "harness/kernels/isa.h"

namespace quantref {
namespace {

const char* PathName(const GroupCell& cell) {
  return cell.path.UsesKernels() ? "kernel" : "simulated";
}

// Of what a cell's scores depend on: its weights, and of a candidate its files, since what their
// blocks decode to is in no hash of weights.
std::string WeightsText(const GroupCell& cell) {
  if (cell.candidate == nullptr) return cell.weights_sha256;
  const Model& own = cell.candidate->model;
  return fmt::format("{} {} {}", cell.weights_sha256, own.weights.checkpoint->Sha256(),
                     own.config.sha256);
}

}  // namespace

std::string Fingerprint(const GroupContext& group, const Pass& cells) {
  std::string text =
      OriginText(group) + fmt::format("{} {}\n", group.stream.sha256, group.all_windows);
  for (const RunConfig* config : group.configs) text += config->ResolvedForScores() + "\n";
  // The reference too: outliers change it.
  for (const GroupCell& cell : cells)
    text += fmt::format("{} {}\n", WeightsText(cell), PathName(cell));
  return Sha256Hex(text);
}

Facts InputFacts(const GroupContext& group) {
  Facts facts = {
      {"program", fmt::format("{} of commit {}", ProgramSha256(), kGitCommit)},
      {"ISA", IsaName(ActiveIsa())},
      {"BLAS", fmt::format("{}, {} kernels", BlasVersion(), BlasCoreType())},
      {"the model's weights", group.model->weights.checkpoint->Sha256()},
      {"the model's config", group.model->config.sha256},
      {"the tokenizer", group.model->tokenizer.sha256()},
      {"the text", group.text.sha256},
      {"the tokens", group.stream.sha256},
      {"windows", fmt::format("{} of {}", group.windows.size(), group.all_windows)},
  };
  for (const RunConfig* config : group.configs)
    facts["config " + config->name] = Sha256Hex(config->ResolvedForScores());
  return facts;
}

Facts ScoreFacts(const GroupContext& group, const Pass& cells) {
  Facts facts = InputFacts(group);
  for (const GroupCell& cell : cells) {
    facts[fmt::format("the weights of {} {}", cell.config->name, cell.label)] =
        fmt::format("{}, {}", WeightsText(cell), PathName(cell));
  }
  return facts;
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
