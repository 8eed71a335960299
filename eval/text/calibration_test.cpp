#include "eval/text/calibration.h"

#include <fmt/format.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <numeric>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "eval/text/calibration_spec.h"
#include "harness/base/sha256.h"
#include "harness/io/file.h"
#include "harness/model/load_model.h"
#include "harness/testing/testing.h"
#include "harness/testing/tiny_model.h"

namespace quantref {
namespace {

using Calibration = CalibrationSpec;
using testing::TempDir;
using Ids = std::vector<uint32_t>;

constexpr size_t kContext = 64;

// A tiny model with wikilm-2m's tokenizer. Its weights do not matter here.
const Model& TinyModelWithTokenizer() {
  static const Model model = [] {
    const TempDir dir;
    testing::WriteTinyModel(dir.path(),
                            {.layers = 1, .vocab = testing::kTokenizerPieces, .context = kContext});
    testing::CopyTokenizer(dir.path());
    return LoadModel("tiny", dir.path(), WeightType::kNative, 1);
  }();
  return model;
}

// A split of the bundled text: "validation" or "test".
Text Sample(const std::string& split) {
  Text text;
  text.dataset = "sample";
  text.split = split;
  text.path = testing::SourceDir() / ("eval/sample/sample." + split + ".raw");
  text.bytes = ReadFile(text.path, size_t{1} << 20);
  text.sha256 = Sha256Hex(text.bytes);
  return text;
}

TokenStream StreamOf(const Text& text) {
  return Tokenize(FindProtocol("gptq-2048"), text.bytes, TinyModelWithTokenizer().tokenizer, 1);
}

// Samples of one text, with `windows` of another measured (0: all).
CalibrationSet DrawOf(const Calibration& calibration, size_t seed, const Text& text,
                      const Text& test, size_t windows = 0) {
  const TokenStream stream = StreamOf(test);
  std::vector<Window> measured =
      MakeWindows(FindProtocol("gptq-2048"), stream.ids.size(), kContext);
  if (windows > 0) measured.resize(windows);
  const Model& model = TinyModelWithTokenizer();
  return DrawCalibration(calibration, seed, text, CalibrationTokens(text, model.tokenizer, 1),
                         model.config.context, {test, stream, measured});
}

CalibrationSet Draw(const Calibration& calibration, size_t seed) {
  return DrawOf(calibration, seed, Sample("validation"), Sample("test"));
}

// A text of the user's own.
Text OwnText(const std::string& bytes) {
  return {
      .dataset = "./own.txt", .split = "", .bytes = bytes, .sha256 = Sha256Hex(bytes), .path = {}};
}

bool Contaminates(const CalibrationSet& set) {
  std::vector<size_t> windows(set.overlap.size());
  std::iota(windows.begin(), windows.end(), size_t{0});
  return IsContaminated(set, windows);
}

Calibration Small() {
  Calibration calibration;
  calibration.samples = 10;
  calibration.length = 32;
  return calibration;
}

TEST_CASE("calibration: samples are windows of the text's tokens", "[calibration]") {
  const CalibrationSet set = Draw(Small(), 0);
  const Ids stream = StreamOf(Sample("validation")).ids;
  REQUIRE(set.data.samples.size() == 10);
  CHECK(set.length == 32);
  std::set<Ids> different;
  for (const Ids& sample : set.data.samples) {
    CHECK(sample.size() == 32);
    CHECK(std::search(stream.begin(), stream.end(), sample.begin(), sample.end()) != stream.end());
    different.insert(sample);
  }
  CHECK(different.size() == 10);  // of more than ten thousand places
}

TEST_CASE("calibration: a seed gives its samples, another seed others", "[calibration]") {
  const CalibrationSet zero = Draw(Small(), 0), again = Draw(Small(), 0), one = Draw(Small(), 1);
  CHECK(zero.data.samples == again.data.samples);
  CHECK(zero.TokenSha256(10) == again.TokenSha256(10));
  CHECK(zero.data.samples != one.data.samples);
  CHECK(zero.TokenSha256(10) != one.TokenSha256(10));
  CHECK(zero.seed == 0);
  CHECK(one.seed == 1);
  // More samples begin with the same ones.
  Calibration more = Small();
  more.samples = 12;
  const auto samples = Draw(more, 0).data.samples;
  REQUIRE(samples.size() == 12);
  CHECK(std::equal(zero.data.samples.begin(), zero.data.samples.end(), samples.begin()));
}

TEST_CASE("calibration: the hash is of all samples' ids in their order", "[calibration]") {
  const CalibrationSet set = Draw(Small(), 3);
  Ids all;
  for (const Ids& sample : set.data.samples) all.insert(all.end(), sample.begin(), sample.end());
  CHECK(all.size() == 320);
  CHECK(set.TokenSha256(10) == Sha256Hex(std::span<const uint32_t>(all)));
  all.resize(4 * 32);
  CHECK(set.TokenSha256(4) == Sha256Hex(std::span<const uint32_t>(all)));
}

TEST_CASE("calibration: a sample is no longer than the model's context", "[calibration]") {
  Calibration calibration = Small();
  calibration.length = 2048;
  const CalibrationSet set = Draw(calibration, 0);
  CHECK(set.length == kContext);
  for (const Ids& sample : set.data.samples) CHECK(sample.size() == kContext);
  CHECK(SamplesText(set, 10) == fmt::format("10 x 64 tokens, {} distinct of 15,325 (asked for: "
                                            "10 x 2048)",
                                            set.DistinctTokens(10)));
  calibration.length = kContext;
  CHECK(Draw(calibration, 0).TokenSha256(10) == set.TokenSha256(10));
}

TEST_CASE("calibration: no more samples than fit in the text", "[calibration]") {
  Calibration calibration = Small();
  calibration.samples = 4000;
  const CalibrationSet set = Draw(calibration, 0);
  CHECK(set.text_tokens == 15325);
  CHECK(set.data.samples.size() == 15325 / 32);
  CHECK(set.asked_samples == 4000);
  CHECK(set.DistinctTokens(set.data.samples.size()) < 15325);
  calibration.samples = 15325 / 32;
  CHECK(Draw(calibration, 0).data.samples == set.data.samples);
}

TEST_CASE("calibration: tokens that several samples hold count once", "[calibration]") {
  CalibrationSet set;
  set.length = 10;
  set.places = {{0, 10}, {25, 10}, {5, 10}, {5, 10}};
  CHECK(set.DistinctTokens(0) == 0);
  CHECK(set.DistinctTokens(2) == 20);
  CHECK(set.DistinctTokens(3) == 25);
  CHECK(set.DistinctTokens(4) == 25);
}

TEST_CASE("calibration: a text of one sample is that sample; a shorter one an Error",
          "[calibration]") {
  Text text = Sample("validation");
  text.bytes = "One two three four five six seven eight nine ten .\n";
  const Ids stream = StreamOf(text).ids;
  Calibration calibration = Small();
  calibration.length = stream.size();
  REQUIRE(stream.size() < kContext);
  const auto draw = [&] { return DrawOf(calibration, 0, text, Sample("test")); };
  for (const Ids& sample : draw().data.samples) CHECK(sample == stream);
  CHECK(stream.front() == 1);  // BOS, once before the text
  CHECK(std::count(stream.begin(), stream.end(), 1u) == 1);
  ++calibration.length;
  CHECK_ERROR(draw(), "calibration:", text.path.string(),
              "at least one sample of " + std::to_string(stream.size() + 1) + " tokens, found " +
                  std::to_string(stream.size()),
              "lower calibration.length");
}

TEST_CASE("calibration: what a record says of it", "[calibration]") {
  Calibration calibration = Small();
  calibration.sequential = false;
  const CalibrationSet set = Draw(calibration, 0);
  CHECK(set.dataset == "sample");
  CHECK(set.split == "validation");
  CHECK(set.text_sha256 == Sample("validation").sha256);
  CHECK_FALSE(set.data.sequential);
  CHECK_FALSE(set.substituted_sample);
  CHECK(Draw(Small(), 0).data.sequential);
  Text text = Sample("validation");
  text.substituted_sample = true;
  CHECK(DrawOf(Small(), 0, text, Sample("test")).substituted_sample);
}

TEST_CASE("calibration: the test text itself contaminates, whatever of it is drawn",
          "[calibration]") {
  Calibration calibration = Small();
  calibration.samples = 1;
  const Text test = Sample("test");
  Text copy = OwnText(test.bytes), split = OwnText("another text " + test.bytes);
  std::string doubled;  // with every space twice
  for (const char c : test.bytes) doubled.append(c == ' ' ? 2 : 1, c);
  split.dataset = "sample";
  split.split = "test";  // of that data set, as an older file of it may be
  for (const Text& text : {test, copy, OwnText(doubled), split}) {
    const CalibrationSet set = DrawOf(calibration, 0, text, test);
    CHECK(set.is_test_text);
    CHECK(Contaminates(set));
    CHECK_ERROR(RefuseContaminated(set), "calibration: ", "is the text that is measured",
                "calibration.allow_overlap: true");
  }
}

TEST_CASE("calibration: runs of the measured windows contaminate, however long the text",
          "[calibration]") {
  const Text test = Sample("test");
  // Another text, except that it has what the first windows hold.
  const Text start = OwnText(test.bytes.substr(0, 3000) + Sample("validation").bytes);
  Calibration calibration = Small();
  calibration.samples = 1000;
  const CalibrationSet whole = DrawOf(calibration, 0, start, test);
  const CalibrationSet first = DrawOf(calibration, 0, start, test, 8);
  const std::vector<size_t> early = {0, 1, 2, 3, 4, 5, 6, 7}, late = {100, 101, 102};
  CHECK(OverlapShare(first, early) > 0.2);
  CHECK(OverlapShare(whole, early) == OverlapShare(first, early));
  CHECK(OverlapShare(whole, late) == 0);
  CHECK_FALSE(IsContaminated(whole, late));
  CHECK_ERROR(RefuseContaminated(first), "calibration: ./own.txt", "measured windows",
              "runs of 50 characters", "(at most 1 %)", "calibration.allow_overlap: true");
}

TEST_CASE("calibration: another text does not contaminate", "[calibration]") {
  Calibration calibration = Small();
  calibration.samples = 400;
  for (const size_t windows : {0, 1, 8}) {
    const CalibrationSet set =
        DrawOf(calibration, 0, Sample("validation"), Sample("test"), windows);
    CHECK_FALSE(set.is_test_text);
    CHECK_FALSE(Contaminates(set));
    CHECK_NOTHROW(RefuseContaminated(set));
  }
}

TEST_CASE("calibration: a text without spaces is seen in another", "[calibration]") {
  std::string characters;
  for (int i = 0; i < 3000; ++i) {
    const int character = 0x4e00 + i * 7919 % 20000;
    characters += static_cast<char>(0xe0 | character >> 12);
    characters += static_cast<char>(0x80 | (character >> 6 & 0x3f));
    characters += static_cast<char>(0x80 | (character & 0x3f));
  }
  const Text test = OwnText(characters + "\n"), copy = OwnText(characters + ".\n");
  Calibration calibration = Small();
  calibration.samples = 200;
  const CalibrationSet set = DrawOf(calibration, 0, copy, test);
  CHECK_FALSE(set.is_test_text);
  CHECK(Contaminates(set));
}

}  // namespace
}  // namespace quantref
