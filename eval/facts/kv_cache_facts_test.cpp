#include "eval/facts/kv_cache_facts.h"

#include <catch2/catch.hpp>

#include "harness/model/synthetic.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

TEST_CASE("kv_cache: what waits unrounded must leave something rounded to be seen") {
  const ModelConfig& plain = FindSyntheticShape("wikilm-28m");
  const ModelConfig& slides = FindSyntheticShape("gemma-3-270m");  // 512 tokens in most blocks
  const auto check = [](const ModelConfig& config, size_t residual, size_t tokens) {
    CheckRounds(config, {.keys = KvReach::kToken, .residual = residual}, tokens, "kv");
  };
  CHECK_NOTHROW(check(plain, 575, 576));
  CHECK_ERROR(check(plain, 576, 576), "kv", "keys wait unrounded for 576 tokens", "texts have 576");
  CHECK_NOTHROW(check(slides, 511, 2048));
  CHECK_ERROR(check(slides, 512, 2048), "kv", "keys wait unrounded for 512 tokens",
              "the sliding window of layers.0 has 512");
  // By channel whole groups wait, too.
  CHECK_NOTHROW(CheckRounds(slides, {.group = 256}, 2048, "kv"));
  CHECK_ERROR(CheckRounds(slides, {.group = 1024}, 2048, "kv"), "unrounded for 1,024 tokens");
}

}  // namespace
}  // namespace quantref
