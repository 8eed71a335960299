#include "eval/calibration.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "harness/base/sha256.h"
#include "harness/io/file.h"
#include "harness/testing/testing.h"
#include "harness/testing/tiny_model.h"

namespace quantref {
namespace {

using Calibration = RunConfig::Calibration;
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
  const Model& model = TinyModelWithTokenizer();
  return Tokenize(FindProtocol("gptq-2048"), text.bytes, model.tokenizer, model.bos_id);
}

CalibrationSet Draw(const Calibration& calibration, size_t seed,
                    const std::string& split = "validation") {
  return DrawCalibration(calibration, seed, Sample(split), TinyModelWithTokenizer(),
                         StreamOf(Sample("test")));
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
  CHECK(zero.token_sha256 == again.token_sha256);
  CHECK(zero.data.samples != one.data.samples);
  CHECK(zero.token_sha256 != one.token_sha256);
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
  CHECK(set.token_sha256 == Sha256Hex(std::span<const uint32_t>(all)));
}

TEST_CASE("calibration: a sample is no longer than the model's context", "[calibration]") {
  Calibration calibration = Small();
  calibration.length = 2048;
  const CalibrationSet set = Draw(calibration, 0);
  CHECK(set.length == kContext);
  for (const Ids& sample : set.data.samples) CHECK(sample.size() == kContext);
  calibration.length = kContext;
  CHECK(Draw(calibration, 0).token_sha256 == set.token_sha256);
}

TEST_CASE("calibration: a text of one sample is that sample; a shorter one an Error",
          "[calibration]") {
  Text text = Sample("validation");
  text.bytes = "One two three four five six seven eight nine ten .\n";
  const Ids stream = StreamOf(text).ids;
  Calibration calibration = Small();
  calibration.length = stream.size();
  REQUIRE(stream.size() < kContext);
  const auto draw = [&] {
    return DrawCalibration(calibration, 0, text, TinyModelWithTokenizer(),
                           StreamOf(Sample("test")));
  };
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
  CHECK_FALSE(set.overlap_allowed);
  CHECK_FALSE(set.substituted_sample);
  CHECK(Draw(Small(), 0).data.sequential);
  Text text = Sample("validation");
  text.substituted_sample = true;
  CHECK(DrawCalibration(Small(), 0, text, TinyModelWithTokenizer(), StreamOf(Sample("test")))
            .substituted_sample);
}

TEST_CASE("calibration: on the test text is refused unless it is allowed", "[calibration]") {
  Calibration calibration = Small();
  calibration.samples = 100;
  CHECK_ERROR(Draw(calibration, 0, "test"), "calibration: sample test", "runs of 13 words",
              "(at most 1 %)", "calibration.allow_overlap: true");
  calibration.allow_overlap = true;
  const CalibrationSet allowed = Draw(calibration, 0, "test");
  CHECK(allowed.overlap_allowed);
  CHECK(allowed.overlap > kMostOverlap);
  CHECK(allowed.overlap < 1);
  // Another text has none, allowed or not.
  for (const bool allow : {false, true}) {
    calibration.allow_overlap = allow;
    const CalibrationSet other = Draw(calibration, 0);
    CHECK(other.overlap <= kMostOverlap);
    CHECK(other.overlap_allowed == allow);
  }
}

TEST_CASE("calibration: little of the test text in the samples is no overlap", "[calibration]") {
  // One sample of the test text, of which it is less than a hundredth.
  Calibration calibration = Small();
  calibration.samples = 1;
  CalibrationSet set;
  REQUIRE_NOTHROW(set = Draw(calibration, 0, "test"));
  CHECK(set.overlap > 0);
  CHECK(set.overlap <= kMostOverlap);
}

}  // namespace
}  // namespace quantref
