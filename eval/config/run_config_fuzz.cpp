#include <nlohmann/json.hpp>

#include "eval/config/read_config.h"
#include "harness/base/check.h"
#include "harness/testing/fuzz.h"

namespace quantref {
namespace {

// A config or a study that is accepted has methods that can be made, and a form to be recorded.
void FuzzRunConfig(std::string_view input) {
  const testing::InputFile file(input);
  for (const RunConfig& config : ReadRunConfigs(file.path(), {})) {
    QR_CHECK(nlohmann::json::parse(config.Resolved()).is_object());
    for (const CellConfig& cell : config.cells)
      QR_CHECK(cell.IsCandidate() || cell.MakeMethod().rounder != nullptr);
  }
}

const testing::AddFuzzTarget run_config_target({"eval/config", "run_config", FuzzRunConfig});

}  // namespace
}  // namespace quantref
