// scripts/check_layers on small trees: it must fail where it should, or its success means nothing.

#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <string>

#include "eval/testing/process.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

using testing::ProcessResult;
using testing::TempDir;
using testing::WriteFile;

ProcessResult Check(const TempDir& tree) {
  const std::string script = (testing::SourceDir() / "scripts/check_layers").string();
  return testing::RunProcess({script, tree.path().string()});
}

// Every kind of include that is allowed.
void PlantGoodTree(const TempDir& tree) {
  WriteFile(tree / "harness/base/a.h", "#pragma once\n#include <string>\n");
  WriteFile(tree / "harness/io/b.cpp", "#include \"harness/base/a.h\"\n");
  WriteFile(tree / "harness/io/b_test.cpp", "#include \"harness/testing/t.h\"\n");
  WriteFile(tree / "harness/io/io_testing.h", "#include \"harness/testing/t.h\"\n");
  WriteFile(tree / "harness/io/c_test.cpp", "#include \"harness/io/io_testing.h\"\n");
  WriteFile(tree / "harness/io/io_oracle.cpp", "#include \"harness/io/io_oracle.h\"\n");
  WriteFile(tree / "harness/testing/t.h", "#include \"harness/base/a.h\"\n");
  WriteFile(tree / "harness/io/b_bench.cpp", "#include \"harness/bench/c.h\"\n");
  WriteFile(tree / "harness/bench/c.h", "#include \"harness/bench/d.h\"\n");
  WriteFile(tree / "harness/method/quantizer.h", "#include \"harness/base/a.h\"\n");
  WriteFile(tree / "quantizers/rtn.cpp", "#include \"harness/method/quantizer.h\"\n");
  WriteFile(tree / "quantizers/registry.cpp", "#include \"quantizers/rtn.h\"\n");
  WriteFile(tree / "eval/record/r.h", "#include \"harness/io/b.h\"\n");
  WriteFile(tree / "eval/record/deep/s.h", "#include <eval/record/r.h>\n");
  WriteFile(tree / "eval/run/run.cpp", "#include \"quantizers/registry.h\"\n");
}

void CheckCaught(const std::string& file, const std::string& target,
                 const std::string& written = "#include \"{}\"") {
  const TempDir tree;
  PlantGoodTree(tree);
  WriteFile(tree / file, "#pragma once\n\n" + fmt::format(fmt::runtime(written), target) + "\n");
  const ProcessResult result = Check(tree);
  INFO(file << " includes " << target << "\n" << result.out << result.err);
  CHECK(result.exit_code == 1);
  CHECK(result.out.starts_with(file + ":3: "));
  CHECK(result.out.find(target) != std::string::npos);
}

TEST_CASE("check_layers passes a tree whose includes point down") {
  const TempDir tree;
  PlantGoodTree(tree);
  const ProcessResult result = Check(tree);
  INFO(result.out << result.err);
  CHECK(result.exit_code == 0);
  CHECK(result.out.empty());
}

TEST_CASE("check_layers fails on an include that points up") {
  CheckCaught("harness/base/bad.h", "harness/io/file.h");
  CheckCaught("harness/quant/bad.cpp", "harness/kernels/gemm.h");
  CheckCaught("harness/model/bad.h", "harness/method/quantizer.h");
  CheckCaught("harness/method/bad.cpp", "quantizers/registry.h");
  CheckCaught("quantizers/bad.h", "eval/record/record.h");
  CheckCaught("harness/io/bad_test.cpp", "eval/text/protocol.h");
}

TEST_CASE("check_layers sees every way to write an include, and folders within rooms") {
  CheckCaught("harness/base/bad.h", "harness/io/file.h", "#include <{}>");
  CheckCaught("harness/base/bad.h", "harness/io/file.h", "  #include \"{}\"  // of <string>");
  CheckCaught("harness/base/bad.h", "harness/io/file.h", "#  include\t<{}>");
  CheckCaught("harness/base/deep/bad.h", "harness/io/file.h");
  CheckCaught("harness/base/bad.h", "harness/io/deep/file.h");
  CheckCaught("quantizers/deep/bad.h", "eval/record/record.h");
}

TEST_CASE(
    "check_layers fails where a room uses a later one, and where reading records needs the model") {
  CheckCaught("eval/record/bad.cpp", "eval/table/spec.h");
  CheckCaught("eval/text/bad.h", "eval/run/run.h");
  CheckCaught("eval/table/bad.cpp", "harness/kernels/gemm.h");
  CheckCaught("eval/stats/bad.h", "quantizers/registry.h");
}

TEST_CASE("check_layers fails on modules that include each other, also around others") {
  const TempDir tree;
  PlantGoodTree(tree);
  WriteFile(tree / "eval/run/one.cpp", "#include \"eval/run/two.h\"\n");
  WriteFile(tree / "eval/run/two.h", "#include \"eval/run/three.h\"\n");
  WriteFile(tree / "eval/run/four.cpp", "#include \"eval/run/one.h\"\n");
  CHECK(Check(tree).exit_code == 0);
  WriteFile(tree / "eval/run/three.cpp", "#include \"eval/run/one.h\"\n");
  const ProcessResult result = Check(tree);
  INFO(result.out << result.err);
  CHECK(result.exit_code == 1);
  CHECK(result.out.find("eval/run/three and eval/run/one are in a circle") != std::string::npos);
  CHECK(result.out.find("four") == std::string::npos);
}

TEST_CASE("check_layers fails on quantizers that know each other and on files of no layer") {
  CheckCaught("quantizers/gptq.cpp", "quantizers/rtn.h");
  CheckCaught("harness/io/bad.cpp", "harness/testing/testing.h");
  CheckCaught("harness/io/bad.cpp", "harness/io/io_testing.h");
  CheckCaught("harness/io/bad.cpp", "harness/io/io_oracle.h");
  CheckCaught("harness/io/bad_test.cpp", "harness/bench/bench.h");
  CheckCaught("eval/run/bad.cpp", "scripts/thing.h");
}

}  // namespace
}  // namespace quantref
