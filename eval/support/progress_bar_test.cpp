#include "eval/support/progress_bar.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "eval/support/text_table.h"
#include "harness/io/file.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

using testing::TempDir;

// With stderr going there, which is closed then.
void WithStderr(int file, const std::function<void()>& body) {
  std::fflush(stderr);
  const int saved = ::dup(STDERR_FILENO);
  REQUIRE(saved >= 0);
  REQUIRE(file >= 0);
  ::dup2(file, STDERR_FILENO);
  ::close(file);
  body();
  std::fflush(stderr);
  ::dup2(saved, STDERR_FILENO);
  ::close(saved);
}

// What `body` writes to stderr, which is no terminal meanwhile.
std::string WhatStderrGets(const std::function<void()>& body) {
  const TempDir dir;
  const std::string path = (dir / "stderr").string();
  WithStderr(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666), body);
  return ReadFile(path, 1 << 20);
}

// What `body` writes to stderr, a terminal of this size meanwhile: less than its buffer holds.
std::string WhatATerminalGets(unsigned short lines, unsigned short columns,
                              const std::function<void()>& body) {
  const int master = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  REQUIRE(master >= 0);
  REQUIRE(::grantpt(master) == 0);
  REQUIRE(::unlockpt(master) == 0);
  const int terminal = ::open(::ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
  REQUIRE(terminal >= 0);
  termios plain{};
  ::tcgetattr(terminal, &plain);
  ::cfmakeraw(&plain);
  ::tcsetattr(terminal, TCSANOW, &plain);
  const winsize size{lines, columns, 0, 0};
  REQUIRE(::ioctl(terminal, TIOCSWINSZ, &size) == 0);
  const int open = ::dup(terminal);  // what is written is lost once nobody has it open
  WithStderr(terminal, body);
  // A terminal hands on in pieces, and when it likes: all is there once the last byte is.
  constexpr char kLast = '\x04';
  REQUIRE(::write(open, &kLast, 1) == 1);
  std::string text;
  char piece[1024];
  while (!text.ends_with(kLast)) {
    const ssize_t count = ::read(master, piece, sizeof piece);
    REQUIRE(count > 0);
    text.append(piece, static_cast<size_t>(count));
  }
  ::close(open);
  ::close(master);
  text.pop_back();
  return text;
}

// What a terminal of so many columns, and lines enough, shows of that.
std::vector<std::string> Shown(const std::string& text, size_t columns) {
  std::vector<std::string> rows(1);
  size_t row = 0, column = 0;
  const auto go_to = [&](size_t next) {
    row = next;
    column = 0;
    if (row == rows.size()) rows.emplace_back();
  };
  for (size_t i = 0; i < text.size(); ++i) {
    // A character's first byte stands for it.
    if ((static_cast<unsigned char>(text[i]) & 0xc0) == 0x80) continue;
    if (text[i] == '\r') {
      column = 0;
    } else if (text[i] == '\n') {
      go_to(row + 1);
    } else if (text[i] == '\x1b') {
      size_t number = 0;
      for (i += 2; std::isdigit(static_cast<unsigned char>(text[i])) != 0; ++i)
        number = 10 * number + static_cast<size_t>(text[i] - '0');
      if (text[i] == 'A') row -= std::min(row, number);
      if (text[i] == 'J') rows.resize(row + 1);
      if (text[i] != 'A') rows[row].resize(std::min(rows[row].size(), column));
    } else {
      if (column == columns) go_to(row + 1);
      rows[row].resize(std::max(rows[row].size(), column + 1), ' ');
      rows[row][column++] = text[i];
    }
  }
  return rows;
}

using Rows = std::vector<std::string>;

TEST_CASE("progress: a text is refreshed in its place, what else was said stays") {
  const auto body = [] {
    ProgressBar bar("baking", false);
    bar.Update(20, 20);
    bar.Refresh("after 8\nwide\n");
    bar.Update(20, 20);
    bar.Refresh("after 16\nnarrow\n");
    bar.Above("the oven is hot\n");
    bar.Update(20, 20);
    bar.Refresh("after 24\n");
    bar.Update(20, 20);
    bar.Refresh("after 32\nsharp\n");
  };
  CHECK(Shown(WhatATerminalGets(24, 80, body), 80) ==
        Rows{"after 16", "narrow", "the oven is hot", "after 32", "sharp", ""});
  const std::string plain = WhatStderrGets(body);
  for (const char* said : {"after 8\nwide\n", "after 16\n", "after 24\n", "after 32\nsharp\n"})
    CHECK(testing::Contains(plain, said));
  CHECK(plain.find_first_of("\r\x1b") == std::string::npos);
}

TEST_CASE(
    "progress: lines that the terminal wraps are refreshed whole, and never more than it has") {
  const auto body = [] {
    ProgressBar bar("baking", false);
    bar.Update(20, 20);
    bar.Refresh("0123456789012345678901234\n\n0123456789\n");
    bar.Refresh("done\n");
  };
  CHECK(Shown(WhatATerminalGets(24, 10, body), 10) == Rows{"done", ""});
  // Five lines, with the bar's six: the first may have left the screen.
  CHECK(Shown(WhatATerminalGets(6, 10, body), 10) == Rows{"done", ""});
  CHECK(Shown(WhatATerminalGets(5, 10, body), 10) ==
        Rows{"0123456789", "0123456789", "01234", "", "0123456789", "done", ""});
}

TEST_CASE("progress: a terminal that gets another width keeps what others have said") {
  const auto body = [](unsigned short next_columns) {
    return [=] {
      ProgressBar bar("baking", false);
      bar.Above("the oven\nis hot\n");
      bar.Refresh("0123456789012345678901234\n");
      const winsize size{24, next_columns, 0, 0};
      CHECK(::ioctl(STDERR_FILENO, TIOCSWINSZ, &size) == 0);
      bar.Refresh("done\n");
    };
  };
  const Rows whole = {"the oven", "is hot", "done", ""};
  // One that wraps the lines anew, then one that leaves them as they were.
  CHECK(Shown(WhatATerminalGets(24, 10, body(80)), 80) == whole);
  CHECK(Shown(WhatATerminalGets(24, 80, body(10)), 80) == whole);
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

TEST_CASE("progress: that all is done is said once, whatever is still looked at") {
  const auto body = [] {
    ProgressBar bar("baking", false);
    for (const char* what : {"bread", "the oven", "the table"}) bar.Update(20, 20, what);
  };
  const std::string text = WhatStderrGets(body);
  INFO(text);
  CHECK(text.starts_with("baking: 20 of 20, "));
  CHECK(text.find('\n') == text.size() - 1);
}

TEST_CASE("progress: what makes ready for the first step is none") {
  StepEta eta(100);
  eta.Advance(0, "the oven", 100);
  eta.Advance(0, "bread", 160);
  eta.Advance(0, "bread", 161);  // looked at again
  eta.Advance(1, "bread", 162);
  CHECK(eta.SecondsLeft(10, 162) == 2 * 9);
  eta.Advance(4, "cake", 168);
  CHECK(eta.SecondsLeft(10, 168) == 2 * 6);
  // Several at once, and after others that were done before.
  StepEta at_once(0), resumed(0);
  at_once.Advance(0, "bread", 0);
  at_once.Advance(5, "bread", 10);
  CHECK(at_once.SecondsLeft(10, 10) == 2 * 5);
  resumed.Advance(5, "bread", 10);
  CHECK(resumed.SecondsLeft(10, 10) == 10 * 5);
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
                            .run_eta = "whole run ETA 3:10",
                            .what = "layers.3.mlp.down_proj"};
  CHECK(
      ProgressLine(state, 160) ==
      "quantizing int4_g128 awq+gptq [###########...................] 3/8 ETA 14 s, whole run ETA "
      "3:10 layers.3.mlp.down_proj");
  CHECK(ProgressLine(state, 79) ==
        "quantizing int4_g128 awq+gptq [###.......] 3/8 ETA 14 s, whole run ETA 3:10");
  CHECK(ProgressLine(state, 65) ==
        "quantizing int4_g128 awq+gptq 3/8 ETA 14 s, whole run ETA 3:10");
  CHECK(ProgressLine(state, 40) == "quantizing int4_… 3/8 whole run ETA 3:10");
  for (size_t width = 0; width < 170; ++width)
    CHECK(TextWidth(ProgressLine(state, width)) <= width);
}

}  // namespace
}  // namespace quantref
