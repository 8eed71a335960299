// The fuzz targets of a layer on the inputs that are kept of them: what a fuzzer found once, and a
// few that reach far into each reader. Part of the tests of every folder that has targets.

#include <catch2/catch.hpp>
#include <filesystem>

#include "harness/io/file.h"
#include "harness/testing/fuzz.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

TEST_CASE("fuzz targets answer every kept input") {
  REQUIRE(!testing::FuzzTargets().empty());
  for (const testing::FuzzTarget& fuzzed : testing::FuzzTargets()) {
    const auto corpus = testing::SourceDir() / fuzzed.folder / "testdata/fuzz" / fuzzed.name;
    size_t inputs = 0;
    for (const auto& entry : std::filesystem::directory_iterator(corpus)) {
      INFO(entry.path());
      CHECK_NOTHROW(testing::RunFuzzTarget(fuzzed, ReadFile(entry.path(), size_t{1} << 20)));
      ++inputs;
    }
    INFO(corpus);
    CHECK(inputs > 0);
  }
}

}  // namespace
}  // namespace quantref
