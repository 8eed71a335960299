#include "eval/text/overlap.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

namespace quantref {
namespace {

// So many characters without spaces between them, different from all others.
std::string Characters(size_t first, size_t count) {
  std::string text;
  for (size_t i = first; i < first + count; ++i) {  // from U+4E00 on: 3 bytes each
    const size_t character = 0x4e00 + i;
    text += static_cast<char>(0xe0 | character >> 12);
    text += static_cast<char>(0x80 | (character >> 6 & 0x3f));
    text += static_cast<char>(0x80 | (character & 0x3f));
  }
  return text;
}

Overlap Whole(const std::string& test, const std::string& calibration) {
  const std::vector<TextRange> all = {{0, test.size()}}, samples = {{0, calibration.size()}};
  return MeasureOverlap({test, all}, {calibration, samples})[0];
}

double Share(const std::string& test, const std::string& calibration) {
  const Overlap overlap = Whole(test, calibration);
  return static_cast<double>(overlap.found) / static_cast<double>(overlap.runs);
}

TEST_CASE("overlap: a text without spaces overlaps with itself, not with another", "[overlap]") {
  CHECK(Share(Characters(0, 200), Characters(0, 200)) == 1);
  CHECK(Share(Characters(0, 200), Characters(200, 200)) == 0);
  CHECK(Share(Characters(0, 200), "") == 0);
}

TEST_CASE("overlap: counts the runs of 50 characters that are seen", "[overlap]") {
  // Of 149 characters, 100 runs; the 69 common ones hold 20.
  const std::string test = Characters(0, 149);
  CHECK(Whole(test, "").runs == 100);
  CHECK(Whole(test, Characters(80, 69) + Characters(500, 50)).found == 20);
  CHECK(Whole(test, Characters(0, 50)).found == 1);
  CHECK(Whole(test, Characters(0, 49)).found == 0);
  CHECK(Whole(test, Characters(0, 50) + Characters(500, 1) + Characters(50, 51)).found == 3);
}

TEST_CASE("overlap: the order of characters counts, white space does not", "[overlap]") {
  std::string backwards, spaced;
  for (size_t i = 60; i > 0; --i) backwards += Characters(i - 1, 1);
  for (size_t i = 0; i < 60; ++i) spaced += "\n\xe3\x80\x80\t\xc2\xa0" + Characters(i, 1);
  CHECK(Share(Characters(0, 60), backwards) == 0);
  CHECK(Share(Characters(0, 60), spaced) == 1);
  CHECK(Share(spaced, Characters(0, 60)) == 1);
}

TEST_CASE("overlap: texts are the same whatever white space they have", "[overlap]") {
  const std::string text = Characters(0, 3);
  CHECK(SameButForSpace("", " \n"));
  CHECK(SameButForSpace("two words", " two\n\nwords"));
  CHECK(SameButForSpace(text, Characters(0, 1) + "\xe3\x80\x80" + Characters(1, 2) + "\n"));
  CHECK_FALSE(SameButForSpace(text, Characters(0, 2)));
  CHECK_FALSE(SameButForSpace("", text));
  CHECK_FALSE(SameButForSpace("two words", "two Words"));
}

TEST_CASE("overlap: each range has the runs that begin in it", "[overlap]") {
  const std::string test = Characters(0, 200);
  const std::vector<TextRange> ranges = {{0, 60}, {30, 90}, {300, 360}, {597, 600}};
  // Short samples of another text, which hold the characters 10 to 20 and one of them again.
  const std::string other = Characters(500, 5) + Characters(10, 80);
  const std::vector<TextRange> samples = {{15, 30}, {24, 27}, {27, 48}, {250, 255}};
  const std::vector<Overlap> overlaps = MeasureOverlap({test, ranges}, {other, samples});
  REQUIRE(overlaps.size() == 4);
  CHECK(overlaps[0].runs == 20);
  CHECK(overlaps[0].found == 10);
  CHECK(overlaps[1].runs == 20);
  CHECK(overlaps[1].found == 11);
  CHECK(overlaps[2].runs == 20);
  CHECK(overlaps[2].found == 0);
  CHECK(overlaps[3].runs == 0);  // the text ends before a run does
}

TEST_CASE("overlap: texts shorter than a run have none", "[overlap]") {
  CHECK(Whole(Characters(0, 49), Characters(0, 49)).runs == 0);
  CHECK(Whole("", Characters(0, 60)).runs == 0);
}

}  // namespace
}  // namespace quantref
