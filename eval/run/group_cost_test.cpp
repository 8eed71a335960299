#include "eval/run/group_cost.h"

#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <vector>

#include "eval/candidate/candidate.h"
#include "eval/inputs/group_cell.h"
#include "harness/export/export_testing.h"

namespace quantref {
namespace {

using testing::CellToTest;

constexpr WeightScheme kCodes{
    .bits = 4, .granularity = Granularity::kGroup, .group = 32, .symmetric = true};

// A cell of each config that is this candidate.
struct CandidatePass {
  CandidatePass(const std::string& path, const std::vector<RunConfig>& configs) {
    spec.label = "it";
    spec.candidate = path;
    const auto candidate = std::make_shared<const Candidate>(MapCandidate(spec));
    for (const RunConfig& config : configs) {
      cells.push_back({.config = &config, .label = "fp32"});
      cells.push_back({.config = &config, .spec = &spec, .label = "it", .candidate = candidate});
    }
  }
  CellConfig spec;
  Pass cells;
};

TEST_CASE("group cost: what cells of several configs share is counted once") {
  const CellToTest cell(testing::ExportableModel(false, testing::kFewPieces), {.scheme = kCodes});
  std::vector<RunConfig> configs(3);
  configs[2].path.kernels = false;
  const CandidatePass pass(cell.Export("gptq").string(), configs);
  const std::vector<CellLoad> loads = LoadsOf(pass.cells);
  REQUIRE(loads.size() == 3);
  CHECK(loads[0].weight_bytes > 0);
  CHECK(loads[1].weight_bytes == 0);
  CHECK(loads[2].weight_bytes == loads[0].weight_bytes);  // in another form
}

TEST_CASE("group cost: codes are gated where products go through the kernels") {
  const CellToTest cell(testing::ExportableModel(false, testing::kFewPieces), {.scheme = kCodes});
  std::vector<RunConfig> configs(2);
  configs[1].path.kernels = false;
  const auto kernels = [&](const std::string& path) {
    const CandidatePass pass(path, configs);
    std::vector<bool> found;
    for (const CellLoad& load : LoadsOf(pass.cells)) found.push_back(load.kernels);
    return found;
  };
  CHECK(kernels(cell.Export("gptq").string()) == std::vector<bool>{true, false});
  CHECK(kernels(cell.Export("gguf", "blocks").string()) == std::vector<bool>{false, false});
  CHECK(kernels(cell.model().string()) == std::vector<bool>{false, false});
}

}  // namespace
}  // namespace quantref
