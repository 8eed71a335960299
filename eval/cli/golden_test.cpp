// The FP16 reference end to end, text to NLL, against an independent implementation in float64
// (scripts/goldens/reference_forward.py).

#include <catch2/catch.hpp>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "eval/accuracy/accuracy.h"
#include "eval/accuracy/transformer_subject.h"
#include "eval/support/resources.h"
#include "eval/text/dataset.h"
#include "harness/base/machine.h"
#include "harness/io/file.h"
#include "harness/io/json_file.h"
#include "harness/model/load_model.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;

// In mean NLL. The contract is 1e-5; what is left of it is FP32 against float64.
constexpr double kTolerance = 2e-6;

struct Golden {
  std::string protocol;
  size_t tokens = 0, windows = 0;  // of the text; 0 windows: not known
  size_t scored = 0;               // of the measured windows; 0: not known
  std::string token_sha256;
  std::vector<double> window_mean_nll;  // of the first windows
  std::optional<double> mean_nll{};     // over all windows; then all are measured
};

struct Measured {
  std::vector<double> window_mean_nll;
  double mean_nll = 0;  // over the scored tokens of all windows
};

Measured Measure(const Model& model, const Protocol& protocol, const TokenStream& stream,
                 const std::vector<Window>& windows) {
  size_t longest = 0;
  for (const Window& window : windows) longest = std::max(longest, window.length);
  const Transformer transformer(model.config, model.weights, longest);
  const TransformerSubject subject(transformer, "golden");
  const std::vector<const Subject*> models = {&subject};
  std::vector<size_t> all(windows.size());
  std::iota(all.begin(), all.end(), size_t{0});
  ScoreTable scores(1, std::vector<std::optional<WindowScores>>(windows.size()));
  std::vector<double> seconds(1);
  EvaluateOptions options;
  options.threads = CoreCount();
  Evaluate(models, protocol, stream, windows, all, options, scores, seconds);
  Measured measured;
  double sum = 0, count = 0;
  for (size_t w = 0; w < windows.size(); ++w) {
    const double nll = scores[0][w]->nll, scored = static_cast<double>(windows[w].scored());
    measured.window_mean_nll.push_back(nll / scored);
    sum += nll;
    count += scored;
  }
  measured.mean_nll = sum / count;
  return measured;
}

double WorstDifference(const std::vector<double>& found, const std::vector<double>& expected) {
  REQUIRE(found.size() >= expected.size());
  double worst = 0;
  for (size_t i = 0; i < expected.size(); ++i)
    worst = std::max(worst, std::abs(found[i] - expected[i]));
  return worst;
}

void CheckGolden(const fs::path& path, const std::string& text, const Golden& golden,
                 WeightType type = WeightType::kNative) {
  INFO(path.filename() << ", " << golden.protocol);
  const Model model = LoadModel("golden", path, type, CoreCount());
  const Protocol protocol = FindProtocol(golden.protocol);
  const TokenStream stream =
      Tokenize(protocol, text, model.tokenizer, model.adds_bos ? model.bos_id : std::nullopt);
  CHECK(stream.ids.size() == golden.tokens);
  REQUIRE(stream.sha256 == golden.token_sha256);
  std::vector<Window> windows = MakeWindows(protocol, stream.ids.size(), model.config.context);
  if (golden.windows > 0) CHECK(windows.size() == golden.windows);
  REQUIRE(windows.size() >= golden.window_mean_nll.size());
  if (!golden.mean_nll) windows.resize(golden.window_mean_nll.size());
  size_t scored = 0;
  for (const Window& window : windows) scored += window.scored();
  if (golden.scored > 0) CHECK(scored == golden.scored);
  const Measured measured = Measure(model, protocol, stream, windows);
  CHECK(WorstDifference(measured.window_mean_nll, golden.window_mean_nll) < kTolerance);
  if (golden.mean_nll) CHECK(std::abs(measured.mean_nll - *golden.mean_nll) < kTolerance);
}

// ---- the bundled text ----

nlohmann::json SampleGolden(const std::string& model, const std::string& protocol) {
  const nlohmann::json file =
      ReadJsonFile(testing::SourceDir() / "eval/testdata/sample_goldens.json");
  for (const nlohmann::json& entry : file["cases"]) {
    if (entry["model"] == model && entry["protocol"] == protocol) return entry;
  }
  FAIL("no golden for " << model << " " << protocol);
  return {};
}

void CheckSampleGolden(const std::string& model, const std::string& protocol) {
  const nlohmann::json entry = SampleGolden(model, protocol);
  const std::string text = ReadFile(testing::SourceDir() / "eval/sample/sample.test.raw", 1 << 20);
  CheckGolden(testing::ReferenceModel(model), text,
              {.protocol = protocol,
               .tokens = entry["tokens"],
               .windows = model == "wikilm-2m" ? entry["window_mean_nll"].size() : 0,
               .scored = entry["scored"],
               .token_sha256 = entry["token_sha256"],
               .window_mean_nll = entry["window_mean_nll"]});
}

TEST_CASE("golden: wikilm-2m on all of the bundled text") {
  CheckSampleGolden("wikilm-2m", GENERATE("gptq-2048", "llamacpp-512", "full-stride"));
}

TEST_CASE("golden: wikilm-28m on the first windows of the bundled text") {
  CheckSampleGolden("wikilm-28m", GENERATE("gptq-2048", "llamacpp-512"));
}

TEST_CASE("golden: an embedding with more rows than the tokenizer has pieces") {
  const fs::path folder = testing::SourceDir() / "eval/testdata/padded_vocabulary";
  const nlohmann::json expected = ReadJsonFile(folder / "expected.json");
  const std::string text = ReadFile(testing::SourceDir() / "eval/sample/sample.test.raw", 1 << 20);
  CheckGolden(folder, text.substr(0, expected["text_bytes"].get<size_t>()),
              {.protocol = "gptq-2048",
               .tokens = expected["tokens"],
               .token_sha256 = expected["token_sha256"],
               .window_mean_nll = expected["window_mean_nll"]});
}

// ---- WikiText-2, where this machine has it ----

// The test split, or nothing (with a warning) where it is not on this machine. Never downloads.
std::optional<std::string> WikitextIfHere() {
  DatasetOptions options = DatasetOptions::FromEnvironment();
  for (const fs::path& path :
       {options.data_dir / "wiki.test.raw", options.data_dir / "wikitext-2-raw/wiki.test.raw",
        options.cache_dir / "wikitext-2-raw/wiki.test.raw"}) {
    if (path.is_absolute() && fs::exists(path)) {
      options.url_override = "http://127.0.0.1:1/none";
      return LoadText("wikitext-2", "test", options).bytes;
    }
  }
  WARN("skipped: WikiText-2 is not on this machine (QUANTREF_DATA, or scripts/fetch_wikitext)");
  return std::nullopt;
}

constexpr char kJoinedHash[] = "57c8d9580098818ccc4ccd51f2baa70e0e61af76b7cd49625bd185c68e7e79dd";
constexpr char kRawHash[] = "21a03ff599715e41b54c3a12476196bd7c83330703fbe487c145ba3404b8ad3e";

TEST_CASE("golden: the first windows of WikiText-2 under gptq-2048") {
  const std::optional<std::string> text = WikitextIfHere();
  if (!text) return;
  Golden golden = {.protocol = "gptq-2048",
                   .tokens = 364280,
                   .windows = 177,
                   .token_sha256 = kJoinedHash,
                   .window_mean_nll = {3.2607092692076622, 3.487158502161059}};
  CheckGolden(testing::ReferenceModel("wikilm-2m"), *text, golden);
  golden.window_mean_nll = {2.5587785340849254, 2.7870132570756883};
  CheckGolden(testing::ReferenceModel("wikilm-28m"), *text, golden);
}

void CheckWhole(const std::string& model, const std::string& text, double gptq, double llamacpp) {
  CheckGolden(testing::ReferenceModel(model), text,
              {.protocol = "gptq-2048",
               .tokens = 364280,
               .windows = 177,
               .token_sha256 = kJoinedHash,
               .window_mean_nll = {},
               .mean_nll = gptq});
  CheckGolden(testing::ReferenceModel(model), text,
              {.protocol = "llamacpp-512",
               .tokens = 358499,
               .windows = 700,
               .token_sha256 = kRawHash,
               .window_mean_nll = {},
               .mean_nll = llamacpp});
}

TEST_CASE("golden: all of WikiText-2", "[long]") {
  const std::optional<std::string> text = WikitextIfHere();
  if (!text) return;
  CheckWhole("wikilm-2m", *text, 3.446125117687054, 3.5246413738647933);
  CheckWhole("wikilm-28m", *text, 2.729675500433584, 2.7903656910630064);
}

TEST_CASE("golden: a model that others trained") {
  const char* models = std::getenv("QUANTREF_TEST_MODELS");
  const fs::path dir = fs::path(models == nullptr ? "" : models) / "stories260k";
  if (models == nullptr || !fs::exists(dir / "golden.json")) {
    WARN("skipped: no stories260k in $QUANTREF_TEST_MODELS");
    return;
  }
  const std::optional<std::string> text = WikitextIfHere();
  if (!text) return;
  const nlohmann::json golden = ReadJsonFile(dir / "golden.json");
  CHECK(golden["context"] == 512);
  CheckGolden(dir, *text,
              {.protocol = "gptq-2048",
               .tokens = golden["tokens"],
               .token_sha256 = golden["token_sha256"],
               .window_mean_nll = golden["window_mean_nll"]});
}

// The path of a model that was fetched, or nothing (with a warning).
std::optional<fs::path> FetchedIfHere(const std::string& name) {
  for (const FetchableModel& model : FetchableModels()) {
    if (model.name == name && model.IsThere()) return model.path;
  }
  WARN("skipped: scripts/fetch_model " + name);
  return std::nullopt;
}

// Weights as Python's gguf decodes them, exactly or rounded to FP16, in transformers (float64 and
// float32) and NumPy (float32).
TEST_CASE("golden: SmolLM2-135M of its GGUF file, where it was fetched", "[long]") {
  const std::optional<fs::path> file = FetchedIfHere("smollm2-135m");
  const std::optional<std::string> text = WikitextIfHere();
  if (!file || !text) return;
  Golden golden = {
      .protocol = "gptq-2048",
      .tokens = 304978,
      .token_sha256 = "aa72485a43ad244db418ec90db75b81905cf39905a80d72a8f56121c2a8593f3",
      .window_mean_nll = {2.7177326680834666, 3.1540275945078644}};
  CheckGolden(*file, *text, golden, WeightType::kFp16);
  golden.window_mean_nll = {2.7177882, 3.1539232};
  CheckGolden(*file, *text, golden);
  CheckGolden(*file, *text,
              {.protocol = "llamacpp-512",
               .tokens = 303415,
               .token_sha256 = "18e663b61dd00f49796c8a6ae498b7dbe009cac4a2eaf3c67fa7d81baf47d945",
               .window_mean_nll = {2.5614693305865455, 3.5626503667019067, 3.2196522242221364}},
              WeightType::kFp16);
}

TEST_CASE("golden: Gemma 3 270M of its GGUF file, where it was fetched", "[long]") {
  const std::optional<fs::path> file = FetchedIfHere("gemma-3-270m");
  const std::optional<std::string> text = WikitextIfHere();
  if (!file || !text) return;
  CheckGolden(*file, *text,
              {.protocol = "gptq-2048",
               .tokens = 292283,
               .token_sha256 = "78788e344131b1ff5312a1ecd00bfef6a9627b9cf24d6a4ffdc8018e14ae8e0e",
               .window_mean_nll = {2.5423250223729053}},
              WeightType::kFp16);
}

}  // namespace
}  // namespace quantref
