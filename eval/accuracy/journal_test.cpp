#include "eval/accuracy/journal.h"

#include <catch2/catch.hpp>
#include <filesystem>

#include "harness/base/rng.h"
#include "harness/io/file.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

using testing::TempDir;

WindowScores SomeScores(uint64_t seed) {
  Rng rng(seed);
  WindowScores scores;
  for (int i = 0; i < 5; ++i) {
    scores.Add({.nll = rng.Uniform() * 9, .kl = rng.Uniform(), .probability_change = rng.Normal()},
               rng.Uniform());
    scores.kl_values.push_back(rng.Uniform());
    scores.kept_kl.push_back(rng.Uniform());
    scores.outliers.push_back(static_cast<uint32_t>(rng.Below(1000)));
  }
  scores.logits_sha256 = seed % 2 == 0 ? "abc123" : "";
  return scores;
}

// A journal of three windows of two models; its bytes.
std::string WriteSample(const std::filesystem::path& path) {
  Journal journal = Journal::Create(path, "run A");
  for (size_t w : {4u, 0u, 7u})
    journal.Append(w, std::vector<WindowScores>{SomeScores(w), SomeScores(w + 100)});
  return ReadFile(path, 1 << 20);
}

std::vector<JournalEntry> Resumed(const std::filesystem::path& path) {
  std::vector<JournalEntry> entries;
  Journal::Resume(path, "run A", 2, entries);
  return entries;
}

TEST_CASE("a journal gives back what was put into it, bit for bit") {
  const TempDir dir;
  WriteSample(dir / "j");
  const std::vector<JournalEntry> entries = Resumed(dir / "j");
  REQUIRE(entries.size() == 3);
  CHECK(entries[0].window == 4);
  CHECK(entries[2].window == 7);
  for (const JournalEntry& entry : entries) {
    CHECK(entry.scores[0] == SomeScores(entry.window));
    CHECK(entry.scores[1] == SomeScores(entry.window + 100));
  }
}

TEST_CASE("a journal torn at any byte loses its last window at most, and goes on") {
  const TempDir dir;
  const std::string whole = WriteSample(dir / "j");
  size_t most = 0;
  // At any byte of the header, the first frame and the last; elsewhere at every fifth, for syncing
  // takes its time.
  const auto step = [&](size_t at) { return at < 120 || at + 120 > whole.size() ? 1 : 5; };
  for (size_t size = 0; size <= whole.size(); size += step(size)) {
    testing::WriteFile(dir / "torn", whole.substr(0, size));
    std::vector<JournalEntry> entries;
    {
      Journal journal = Journal::Resume(dir / "torn", "run A", 2, entries);
      journal.Append(2, std::vector<WindowScores>{SomeScores(2), SomeScores(102)});
    }
    REQUIRE(entries.size() >= most);  // more bytes, no fewer windows
    most = entries.size();
    const std::vector<JournalEntry> again = Resumed(dir / "torn");
    REQUIRE(again.size() == entries.size() + 1);
    REQUIRE(again.back().scores[1] == SomeScores(102));
  }
  CHECK(most == 3);
}

TEST_CASE("a damaged byte ends the journal there, or makes it another run's") {
  const TempDir dir;
  const std::string whole = WriteSample(dir / "j");
  for (size_t at = 0; at < whole.size(); at += 3) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    testing::WriteFile(dir / "damaged", damaged);
    try {
      for (const JournalEntry& entry : Resumed(dir / "damaged")) {
        REQUIRE(entry.scores[0] == SomeScores(entry.window));
      }
    } catch (const Error&) {
      REQUIRE(at < 8 + 8 + 5);  // the header
    }
  }
}

TEST_CASE("a journal of another run or of more models is not used") {
  const TempDir dir;
  WriteSample(dir / "j");
  std::vector<JournalEntry> entries;
  CHECK_ERROR(Journal::Resume(dir / "j", "run B", 2, entries), "another run", "--resume");
  testing::WriteFile(dir / "text", std::string(100, 'x'));
  CHECK_ERROR(Journal::Resume(dir / "text", "run A", 2, entries), "expected a journal");
  Journal::Resume(dir / "j", "run A", 3, entries);
  CHECK(entries.empty());
}

TEST_CASE("resuming without a journal, and creating over one, begin anew") {
  const TempDir dir;
  CHECK(Resumed(dir / "none").empty());
  WriteSample(dir / "j");
  { const Journal journal = Journal::Create(dir / "j", "run A"); }
  CHECK(Resumed(dir / "j").empty());
  Journal::Create(dir / "gone", "run A").Remove();
  CHECK_FALSE(std::filesystem::exists(dir / "gone"));
  CHECK_ERROR(Journal::Create(dir / "no/folder", "run A"), "cannot be opened", "--out");
}

TEST_CASE("a journal is one run's at a time") {
  const TempDir dir;
  std::vector<JournalEntry> entries;
  {
    Journal journal = Journal::Create(dir / "j", "run A");
    journal.Append(0, std::vector<WindowScores>{SomeScores(0), SomeScores(1)});
    CHECK_ERROR(Journal::Create(dir / "j", "run A"), "another run", "--out");
    CHECK_ERROR(Journal::Resume(dir / "j", "run A", 2, entries), "another run", "--out");
  }
  CHECK(Resumed(dir / "j").size() == 1);
  // Nor does its end take away what is another's by now.
  Journal old = Journal::Create(dir / "j", "run A");
  std::filesystem::remove(dir / "j");
  const Journal other = Journal::Create(dir / "j", "run B");
  old.Remove();
  CHECK(std::filesystem::exists(dir / "j"));
}

TEST_CASE("a journal that is removed under way is made again, whole") {
  const TempDir dir;
  const std::vector<WindowScores> scores = {SomeScores(0), SomeScores(1)};
  std::filesystem::create_directories(dir / "out/deep");
  Journal journal = Journal::Create(dir / "out/deep/j", "run A");
  CHECK(journal.Append(0, scores) == Journal::State::kThere);
  std::filesystem::remove_all(dir / "out");
  CHECK(journal.Append(1, scores) == Journal::State::kMadeAgain);
  CHECK_ERROR(Journal::Create(dir / "out/deep/j", "run A"), "another run");
  CHECK(journal.Append(2, scores) == Journal::State::kThere);
  std::filesystem::remove_all(dir / "out");
  testing::WriteFile(dir / "out", "no folder can be here");
  CHECK(journal.Append(3, scores) == Journal::State::kGone);
  std::filesystem::remove(dir / "out");
  CHECK(journal.Append(4, scores) == Journal::State::kMadeAgain);
  Journal moved(std::move(journal));
  { const Journal end(std::move(moved)); }
  CHECK(Resumed(dir / "out/deep/j").size() == 5);
}

}  // namespace
}  // namespace quantref
