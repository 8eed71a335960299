#include "eval/inputs/run_inputs.h"

#include <catch2/catch.hpp>
#include <set>
#include <string>
#include <vector>

#include "harness/testing/testing.h"
#include "harness/testing/tiny_model.h"

namespace quantref {
namespace {

// Draws of a tiny model with wikilm-2m's tokenizer, which is measured on a text of a few words.
class DrawLab {
 public:
  const CalibrationSet& Draw(const CalibrationSamples& samples, size_t seed) {
    return sets_.Draw(config_, samples, seed, model_, {test_, stream_, {}}, true);
  }
  std::string OwnText() const {
    const std::string path = (dir_ / "own.txt").string();
    std::string words;
    for (size_t i = 0; i < 100; ++i) words += std::to_string(i) + " bottles of beer on the wall. ";
    testing::WriteFile(path, words);
    return path;
  }

 private:
  Model LoadTiny() const {
    testing::WriteTinyModel(dir_.path(),
                            {.layers = 1, .vocab = testing::kTokenizerPieces, .context = 64});
    testing::CopyTokenizer(dir_.path());
    return LoadModel("tiny", dir_.path(), WeightType::kNative, 1);
  }

  testing::TempDir dir_;
  Model model_ = LoadTiny();
  RunConfig config_;
  Text test_{.dataset = "./test.txt", .split = "", .bytes = "a text", .sha256 = "", .path = {}};
  TokenStream stream_ = CalibrationTokens(test_, model_.tokenizer, 1);
  CalibrationSets sets_;
};

TEST_CASE("run_inputs: cells share calibration samples where all that they ask for is the same",
          "[run_inputs]") {
  DrawLab lab;
  const CalibrationSamples asked{
      .dataset = "sample", .split = "validation", .samples = 4, .length = 16};
  std::vector<CalibrationSamples> others(6, asked);
  others[0].dataset = lab.OwnText();
  others[1].split = "test";
  others[2].samples = 5;
  others[3].length = 32;
  others[4].sequential = false;
  others[5].repeated = true;

  const CalibrationSet& set = lab.Draw(asked, 0);
  std::set<const CalibrationSet*> drawn = {&set, &lab.Draw(asked, 1)};
  for (const CalibrationSamples& other : others) drawn.insert(&lab.Draw(other, 0));
  CHECK(drawn.size() == 2 + others.size());
  CHECK(&lab.Draw(asked, 0) == &set);

  CHECK(set.data.samples.size() == 4);
  CHECK(lab.Draw(others[0], 0).dataset == "own.txt");
  CHECK(lab.Draw(others[1], 0).split == "test");
  CHECK(lab.Draw(others[2], 0).data.samples.size() == 5);
  CHECK(lab.Draw(others[3], 0).length == 32);
  CHECK_FALSE(lab.Draw(others[4], 0).data.sequential);
}

}  // namespace
}  // namespace quantref
