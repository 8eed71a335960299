#include "eval/table/headline.h"

#include <catch2/catch.hpp>

namespace quantref {
namespace {

TEST_CASE("headline: one window, token or thread is one, and many are many") {
  MeasuredOn on{.model = "m", .text = "t", .protocol = "p", .isa = "avx2", .blas = "BLAS"};
  on.windows = on.scored = on.threads = 1;
  CHECK(HeadlineText(on) == "m · t · p · 1 window, 1 scored token · 1 thread, avx2, BLAS\n");
  on.windows = on.threads = 2;
  on.scored = 4094;
  CHECK(HeadlineText(on) == "m · t · p · 2 windows, 4,094 scored tokens · 2 threads, avx2, BLAS\n");
}

}  // namespace
}  // namespace quantref
