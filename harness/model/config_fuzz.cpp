#include <cmath>

#include "harness/base/check.h"
#include "harness/model/config.h"
#include "harness/testing/fuzz.h"

namespace quantref {
namespace {

// A config that is accepted has a shape that a model can be made in.
void FuzzConfig(std::string_view input) {
  const testing::InputFile file(input);
  const ModelConfig config = ReadConfig(file.path());
  QR_CHECK_LT(0u, config.kv_heads);
  QR_CHECK_EQ(config.heads % config.kv_heads, 0u);
  QR_CHECK_EQ(config.RotaryDim() % 2 == 0 || config.family->learned_positions, true);
  QR_CHECK_LE(config.vocab * config.hidden, config.Parameters());
  const double flops = config.ForwardFlops(config.context, config.context);
  QR_CHECK(std::isfinite(flops) && flops > 0);
}

const testing::AddFuzzTarget config_target({"harness/model", "config", FuzzConfig});

}  // namespace
}  // namespace quantref
