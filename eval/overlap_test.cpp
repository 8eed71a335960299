#include "eval/overlap.h"

#include <catch2/catch.hpp>
#include <vector>

namespace quantref {
namespace {

std::string Words(int first, int count) {
  std::string text;
  for (int i = first; i < first + count; ++i) text += "word" + std::to_string(i) + " ";
  return text;
}

double Share(const std::string& test, const std::vector<std::string>& calibration) {
  return OverlapShare(test, calibration);
}

TEST_CASE("overlap: a text overlaps with itself, not with another", "[overlap]") {
  CHECK(Share(Words(0, 100), {Words(0, 100)}) == 1);
  CHECK(Share(Words(0, 100), {Words(100, 100)}) == 0);
  CHECK(Share(Words(0, 100), {}) == 0);
}

TEST_CASE("overlap: counts the runs of 13 words that are seen", "[overlap]") {
  // Of 112 words, 100 runs; the 32 common words hold 20.
  CHECK(Share(Words(0, 112), {Words(80, 32) + Words(500, 50)}) == Approx(0.20));
  CHECK(Share(Words(0, 112), {Words(0, 13)}) == Approx(0.01));
  CHECK(Share(Words(0, 112), {Words(0, 12)}) == 0);
  // A run does not go from one calibration text into the next.
  CHECK(Share(Words(0, 112), {Words(0, 12), Words(12, 12)}) == 0);
  CHECK(Share(Words(0, 112), {Words(0, 13), Words(50, 14)}) == Approx(0.03));
}

TEST_CASE("overlap: the order of words counts, white space does not", "[overlap]") {
  std::string backwards, lines;
  for (int i = 20; i > 0; --i) backwards += "word" + std::to_string(i) + " ";
  for (int i = 0; i < 20; ++i) lines += "\n\t word" + std::to_string(i);
  CHECK(Share(Words(0, 20), {backwards}) == 0);
  CHECK(Share(Words(0, 20), {lines}) == 1);
}

TEST_CASE("overlap: a test text shorter than a run has none", "[overlap]") {
  CHECK(Share(Words(0, 12), {Words(0, 12)}) == 0);
  CHECK(Share("", {Words(0, 50)}) == 0);
}

}  // namespace
}  // namespace quantref
