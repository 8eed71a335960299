#include "eval/record/reference.h"

#include <catch2/catch.hpp>

namespace quantref {
namespace {

TEST_CASE("reference: its names are no other cell's") {
  for (const char* name : {"fp16", "bf16", "fp32", "bf16+fp32", "fp16+bf16+fp32", "FP16", "Bf16"}) {
    CHECK(IsReferenceName(name));
    CHECK(MeansReference(name));
  }
  for (const char* name : {"", "rtn", "awq+gptq", "fp16+", "+fp16", "fp16 ", "fp8"}) {
    INFO(name);
    CHECK_FALSE(IsReferenceName(name));
    CHECK_FALSE(MeansReference(name));
  }
  CHECK(MeansReference("reference"));
}

}  // namespace
}  // namespace quantref
