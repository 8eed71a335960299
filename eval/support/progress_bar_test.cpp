#include "eval/support/progress_bar.h"

#include <fcntl.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdio>
#include <functional>
#include <string>

#include "eval/support/text_table.h"
#include "harness/io/file.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

using testing::TempDir;

// What `body` writes to stderr, which is no terminal meanwhile.
std::string WhatStderrGets(const std::function<void()>& body) {
  const TempDir dir;
  const std::string path = (dir / "stderr").string();
  std::fflush(stderr);
  const int saved = ::dup(STDERR_FILENO);
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  REQUIRE(saved >= 0);
  REQUIRE(file >= 0);
  ::dup2(file, STDERR_FILENO);
  body();
  std::fflush(stderr);
  ::dup2(saved, STDERR_FILENO);
  ::close(saved);
  ::close(file);
  return ReadFile(path, 1 << 20);
}

TEST_CASE("FormatDuration takes the unit that fits") {
  CHECK(FormatDuration(0) == "0 s");
  CHECK(FormatDuration(0.314) == "0.31 s");
  CHECK(FormatDuration(2) == "2 s");
  CHECK(FormatDuration(9.94) == "9.9 s");
  CHECK(FormatDuration(9.96) == "10 s");
  CHECK(FormatDuration(14.2) == "14 s");
  CHECK(FormatDuration(99.4) == "99 s");
  CHECK(FormatDuration(99.6) == "1:40");
  CHECK(FormatDuration(127) == "2:07");
  CHECK(FormatDuration(3599.4) == "59:59");
  CHECK(FormatDuration(3599.6) == "1:00:00");
  CHECK(FormatDuration(3909) == "1:05:09");
  CHECK(FormatDuration(360000) == "100:00:00");
}

TEST_CASE("progress: work that is over at once is one line") {
  const std::string text = WhatStderrGets([] {
    ProgressBar bar("baking", false);
    for (size_t done = 0; done <= 20; ++done) bar.Update(done, 20);
  });
  INFO(text);
  CHECK(text.starts_with("baking: 20 of 20, "));
  CHECK(text.find('\n') == text.size() - 1);
  CHECK(text.find_first_of("\r\x1b") == std::string::npos);  // those are for terminals
}

TEST_CASE("progress: quiet work says nothing, nor does work without a total") {
  CHECK(WhatStderrGets([] {
          ProgressBar bar("baking", true);
          for (size_t done = 0; done <= 20; ++done) bar.Update(done, 20);
        }).empty());
  CHECK(WhatStderrGets([] {
          ProgressBar bar("baking", false);
          bar.Update(0, 0);
          bar.Update(5, 0);
        }).empty());
}

TEST_CASE("progress: a line fits into whatever room there is, and drops what matters least") {
  const ProgressState state{.title = "quantizing int4_g128 awq+gptq",
                            .done = 3,
                            .total = 8,
                            .eta = "ETA 14 s",
                            .run_eta = "run 3:10",
                            .what = "layers.3.mlp.down_proj"};
  CHECK(ProgressLine(state, 160) ==
        "quantizing int4_g128 awq+gptq [###########...................] 3/8 ETA 14 s, run 3:10 "
        "layers.3.mlp.down_proj");
  CHECK(ProgressLine(state, 79) ==
        "quantizing int4_g128 awq+gptq [#######.............] 3/8 ETA 14 s, run 3:10");
  CHECK(ProgressLine(state, 60) == "quantizing int4_g128 awq+gptq 3/8 ETA 14 s, run 3:10");
  CHECK(ProgressLine(state, 30) == "quantizing int4_… 3/8 run 3:10");
  for (size_t width = 0; width < 170; ++width)
    CHECK(TextWidth(ProgressLine(state, width)) <= width);
}

}  // namespace
}  // namespace quantref
