#include "eval/config/setting_keys.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "eval/config/keys.h"
#include "harness/base/setting_error.h"
#include "harness/quant/plan.h"
#include "harness/testing/testing.h"
#include "harness/train/lora.h"

namespace quantref {
namespace {

// Throws what a config's reader is told of a complaint.
template <typename F>
void InWords(const F& complain) {
  try {
    complain();
  } catch (const Error& error) {
    throw InConfigsWords(error);
  }
}

TEST_CASE("settings that the harness complains of have the names that configs have for them") {
  QuantizeSpec spec;
  spec.keep = {"lm_haed"};
  const std::vector<LinearShape> linears = {{"lm_head", 32, 32}};
  CHECK_ERROR(InWords([&] { MakePlan(spec, linears); }), "quantize.keep: the pattern 'lm_haed'");
  LoraSpec lora;
  lora.targets = {"*.query"};
  CHECK_ERROR(InWords([&] { CheckTargets(lora, {}); }), "quantize.lora.targets: '*.query'");
  for (const char* setting : {"keep", "overrides", "transforms", "outlier_threshold", "per_token",
                              "lora.targets", "lora.rank", "sequential", "rate"}) {
    INFO(setting);
    const std::string key = InConfigsWords(SettingError("is wrong", setting)).where();
    CHECK(FindConfigKey(key) != nullptr);
  }
  CHECK(InConfigsWords(Error("is wrong", "keep", "mend it")).what() ==
        std::string("keep: is wrong\n  hint: mend it"));
}

}  // namespace
}  // namespace quantref
