#include "harness/model/load_model.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "harness/io/file.h"
#include "harness/testing/testing.h"
#include "harness/testing/tiny_model.h"

// A model folder as a whole: that its files are there and agree.

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::TempDir;
using testing::TinyModel;

// As many tokens as the tokenizer that is at hand, and little else.
const TinyModel kModel{.hidden = 8,
                       .intermediate = 8,
                       .layers = 1,
                       .heads = 2,
                       .kv_heads = 1,
                       .head_dim = 4,
                       .vocab = testing::kTokenizerPieces};

Model Load(const fs::path& dir) { return LoadModel("tiny", dir, WeightType::kNative, 1); }

void WriteModelFolder(const fs::path& dir, const nlohmann::json& config) {
  testing::WriteTinyModel(dir, kModel);
  testing::WriteFile(dir / "config.json", config.dump());
  testing::CopyTokenizer(dir);
}

TEST_CASE("load_model: a folder with all it needs", "[load_model]") {
  const TempDir dir;
  nlohmann::json config = testing::TinyConfig(kModel);
  WriteModelFolder(dir.path(), config);
  const Model model = Load(dir.path());
  CHECK(model.name == "tiny");
  CHECK(model.dir == dir.path());
  CHECK(model.config.hidden == 8);
  CHECK(model.bos_id == 1u);
  CHECK(model.adds_bos);
  CHECK(model.tokenizer.vocab_size() == testing::kTokenizerPieces);
  CHECK(model.weights.blocks.size() == 1);
  CHECK(model.weights.checkpoint->FileBytes() == fs::file_size(dir / "model.safetensors"));
  // The tokenizer's BOS counts where the config names none.
  config.erase("bos_token_id");
  testing::WriteFile(dir / "config.json", config.dump());
  CHECK(Load(dir.path()).bos_id == 1u);
}

TEST_CASE("load_model: the type reaches the weights", "[load_model]") {
  const TempDir dir;
  WriteModelFolder(dir.path(), testing::TinyConfig(kModel));
  CHECK(Load(dir.path()).weights.embedding.weight.StorageBits() == 8192 * 8 * 32);
  CHECK(
      LoadModel("tiny", dir.path(), WeightType::kFp16, 1).weights.embedding.weight.StorageBits() ==
      8192 * 8 * 16);
}

TEST_CASE("load_model: the bundled small model", "[load_model]") {
  const Model model = Load(testing::ReferenceModel("wikilm-2m"));
  CHECK(model.bos_id == 1u);
  CHECK(model.weights.blocks.size() == 4);
}

TEST_CASE("load_model: a tokenizer of another vocabulary", "[load_model]") {
  const TempDir dir;
  testing::WriteTinyModel(dir.path(), {});
  testing::CopyTokenizer(dir.path());
  CHECK_ERROR(Load(dir.path()), dir.path().string(), "64 rows", "8192 pieces", "another model");
}

TEST_CASE("load_model: an embedding may have more rows than the tokenizer has pieces",
          "[load_model]") {
  const TempDir dir;
  TinyModel padded = kModel;
  padded.vocab = testing::kTokenizerPieces + 64;
  testing::WriteTinyModel(dir.path(), padded);
  testing::CopyTokenizer(dir.path());
  const Model model = Load(dir.path());
  CHECK(model.config.vocab == 8256);
  CHECK(model.tokenizer.vocab_size() == 8192);
  CHECK(model.weights.head.weight.rows() == 8256);
}

TEST_CASE("load_model: what no setting can mend is found without reading the weights",
          "[load_model]") {
  const TempDir dir;
  WriteModelFolder(dir.path(), testing::TinyConfig(kModel));
  CHECK(CheckModelFiles(dir.path(), WeightType::kNative).hidden == 8);
  testing::WriteFile(dir / "tokenizer.model", "IQ== 0\nIg== 1\nIw== 2\n");
  CHECK_ERROR(CheckModelFiles(dir.path(), WeightType::kNative), "tiktoken");
  fs::remove(dir / "model.safetensors");  // the tokenizer is said first
  CHECK_ERROR(CheckModelFiles(dir.path(), WeightType::kNative), "tiktoken");
  fs::remove(dir / "tokenizer.model");
  testing::CopyTokenizer(dir.path());
  CHECK_ERROR(CheckModelFiles(dir.path(), WeightType::kNative), "model.safetensors");
}

TEST_CASE("load_model: another BOS than the tokenizer's", "[load_model]") {
  const TempDir dir;
  nlohmann::json config = testing::TinyConfig(kModel);
  config["bos_token_id"] = 2;
  WriteModelFolder(dir.path(), config);
  CHECK_ERROR(Load(dir.path()), dir.path().string(), "bos_token_id 2", "the tokenizer says 1");
}

TEST_CASE("load_model: texts begin with BOS unless the tokenizer says no, or has none",
          "[load_model]") {
  const TempDir dir;
  nlohmann::json config = testing::TinyConfig(kModel);
  WriteModelFolder(dir.path(), config);
  testing::WriteFile(dir / "tokenizer_config.json", R"({"add_bos_token": false})");
  CHECK_FALSE(Load(dir.path()).adds_bos);
  CHECK(Load(dir.path()).bos_id == 1u);  // for who asks for it

  const TempDir without;
  config = testing::TinyConfig({.vocab = testing::kLetterPieces});
  config.erase("bos_token_id");
  testing::WriteTinyModel(without.path(), {.vocab = testing::kLetterPieces});
  testing::WriteFile(without / "config.json", config.dump());
  testing::WriteLetterTokenizer(without.path(), false);
  CHECK_FALSE(Load(without.path()).bos_id.has_value());
  CHECK_FALSE(Load(without.path()).adds_bos);
  testing::WriteFile(without / "tokenizer_config.json", R"({"add_bos_token": true})");
  CHECK_ERROR(Load(without.path()), without.path().string(), "adds a BOS token",
              "set bos_token_id in config.json");
}

TEST_CASE("load_model: a tokenizer.json, whose control tokens may lie beyond the embedding",
          "[load_model]") {
  const TempDir dir;
  nlohmann::json config = testing::TinyConfig({.vocab = 420});
  config.erase("bos_token_id");
  testing::WriteTinyModel(dir.path(), {.vocab = 420});
  testing::WriteFile(dir / "config.json", config.dump());
  const fs::path data = testing::SourceDir() / "harness/tokenizer/testdata";
  nlohmann::json tokenizer = nlohmann::json::parse(ReadFile(data / "qwen2.json", 1 << 20));
  const auto load = [&](const nlohmann::json& added) {
    tokenizer["added_tokens"].push_back(added);
    testing::WriteFile(dir / "tokenizer.json", tokenizer.dump());
    return Load(dir.path());
  };
  const Model model = load({{"id", 420}, {"content", "<x>"}, {"special", true}});
  CHECK(model.tokenizer.facts().kind == "BPE of tokenizer.json");
  CHECK_FALSE(model.adds_bos);
  CHECK(model.files().back().path().filename() == "tokenizer.json");
  CHECK_ERROR(load({{"id", 421}, {"content", "<y>"}, {"special", false}}), "has 420 rows",
              "the tokenizer 422 pieces");
}

TEST_CASE("load_model: each missing file is named", "[load_model]") {
  for (const char* file : {"config.json", "tokenizer.model", "model.safetensors"}) {
    const TempDir dir;
    WriteModelFolder(dir.path(), testing::TinyConfig(kModel));
    fs::remove(dir / file);
    CHECK_ERROR(Load(dir.path()), dir.path().string(), file);
  }
  const TempDir dir;
  CHECK_ERROR(Load(dir / "nowhere"), "nowhere", "expected a folder");
  testing::WriteFile(dir / "file", "");
  CHECK_ERROR(Load(dir / "file"), "expected a folder");
}

TEST_CASE("load_model: a config of another model", "[load_model]") {
  const TempDir dir;
  nlohmann::json config = testing::TinyConfig(kModel);
  config["num_hidden_layers"] = 2;
  WriteModelFolder(dir.path(), config);
  CHECK_ERROR(Load(dir.path()), "model.layers.1.input_layernorm.weight");
  config["num_hidden_layers"] = 1;
  config["hidden_size"] = 16;
  testing::WriteFile(dir / "config.json", config.dump());
  CHECK_ERROR(Load(dir.path()), "model.embed_tokens.weight", "shape (8192, 16)", "found (8192, 8)");
}

}  // namespace
}  // namespace quantref
