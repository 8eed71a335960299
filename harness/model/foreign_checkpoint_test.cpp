#include "harness/model/foreign_checkpoint.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "harness/base/half.h"
#include "harness/model/load_model.h"
#include "harness/model/model_testing.h"
#include "harness/testing/tiny_model.h"

namespace quantref {
namespace {

using testing::FileTensors;
using testing::TempDir;
using testing::TinyModel;

const TinyModel kForeignShape{.hidden = 16, .intermediate = 16, .layers = 1, .vocab = 8};
constexpr char kQName[] = "model.layers.0.self_attn.q_proj";

// A tool whose codes are the bytes of NAME.codes, times 1/64, behind an offset of 128.
class ByteCheckpoint final : public ForeignCheckpoint {
 public:
  explicit ByteCheckpoint(std::shared_ptr<const Checkpoint> checkpoint, bool rounds_inputs = true)
      : checkpoint_(std::move(checkpoint)) {
    if (rounds_inputs) activations_ = ActivationFormat{};
  }

  std::string format() const override { return "bytes"; }
  std::optional<ForeignMatrix> Find(const std::string& name, size_t rows,
                                    size_t cols) const override {
    const Tensor* codes = checkpoint_->Find(name + ".codes");
    if (codes == nullptr) return std::nullopt;
    if (codes->shape != std::vector<size_t>{rows, cols}) throw Error("misshapen", name);
    return ForeignMatrix{"int8 row asym",
                         kScheme,
                         {name + ".codes"},
                         activations_,
                         [codes, rows, cols](std::vector<CountedNote>& notes) {
                           notes.push_back({"seen", rows, "rows"});
                           return Read(*codes, rows, cols);
                         }};
  }
  std::vector<std::string> Others(std::vector<CountedNote>& notes) const override {
    notes.push_back({"beside", 1, ""});
    return {"model.beside"};
  }

 private:
  static constexpr WeightScheme kScheme{.bits = 8, .granularity = Granularity::kRow};

  static Weight Read(const Tensor& codes, size_t rows, size_t cols) {
    auto packed = std::make_shared<PackedMatrix>(rows, cols, kScheme);
    for (size_t r = 0; r < rows; ++r) {
      packed->set_affine(r, 0, {.scale = 1.0F / 64, .zero = 128});
      packed->SetCodes(r, {reinterpret_cast<const uint8_t*>(codes.data) + r * cols, cols});
    }
    return Weight(std::shared_ptr<const PackedMatrix>(packed));
  }

  std::shared_ptr<const Checkpoint> checkpoint_;
  std::optional<ActivationFormat> activations_{};
};

// The tiny model with a matrix as such codes, and something beside it.
FileTensors WithCodes(const std::string& name = kQName, const TinyModel& shape = kForeignShape) {
  FileTensors tensors = testing::TinyTensors(shape);
  auto matrix = tensors.extract(name + ".weight");
  std::string codes(matrix.mapped().shape[0] * matrix.mapped().shape[1], '\0');
  for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<char>(100 + i % 57);
  tensors[name + ".codes"] = {"U8", matrix.mapped().shape, codes};
  tensors["model.beside"] = {"U8", {1}, "x"};
  return tensors;
}

struct OpenedTensors {
  ModelConfig config;
  std::shared_ptr<const Checkpoint> checkpoint;
};
OpenedTensors OpenTensors(const TempDir& dir, const FileTensors& tensors,
                          const TinyModel& shape = kForeignShape) {
  testing::WriteTinyModel(dir.path(), shape);
  testing::WriteTensors(dir.path(), tensors);
  return {ReadConfig(dir / "config.json"), Checkpoint::Open(dir.path())};
}

TEST_CASE("foreign_checkpoint: its matrices are found at once and read with the others",
          "[foreign_checkpoint]") {
  const TempDir dir;
  const OpenedTensors opened = OpenTensors(dir, WithCodes());
  MatrixSources sources{.foreign = std::make_shared<ByteCheckpoint>(opened.checkpoint)};
  ModelWeights weights =
      MapWeights(opened.config, opened.checkpoint, WeightType::kNative, &sources);
  REQUIRE(sources.found.size() == AllLinears(weights).size());
  const MatrixFacts& q = sources.found[1];
  CHECK(q.name == "layers.0.self_attn.q_proj");
  CHECK(q.type == "int8 row asym");
  CHECK(q.coded);
  CHECK(q.bytes == q.rows * q.cols);
  CHECK(q.Bits() == 8);
  CHECK(sources.found[0].type == "F32");
  CHECK_FALSE(sources.found[0].coded);
  CHECK(sources.notes.size() == 1);
  ReadWeights(weights, WeightType::kNative, 2, &sources.notes);
  CHECK(sources.notes.back().what == "seen");
  CHECK(sources.notes.back().count == q.rows);
  const Linear& linear = weights.blocks[0].linears[LinearIndex::kQ];
  CHECK(linear.activations == ActivationFormat{});
  REQUIRE(linear.weight.packed() != nullptr);
  const Matrix<float> values = linear.weight.Decode();
  CHECK(values(0, 0) == (100 - 128) / 64.0F);
  CHECK(values(1, 3) == (100 + static_cast<float>((q.cols + 3) % 57) - 128) / 64);
}

TEST_CASE("foreign_checkpoint: of a reference codes are the numbers that they stand for",
          "[foreign_checkpoint]") {
  const TempDir dir;
  const OpenedTensors opened = OpenTensors(dir, WithCodes());
  const auto load = [&](bool rounds_inputs, bool decode, WeightType type) {
    MatrixSources sources{
        .foreign = std::make_shared<ByteCheckpoint>(opened.checkpoint, rounds_inputs),
        .decode = decode};
    ModelWeights weights = MapWeights(opened.config, opened.checkpoint, type, &sources);
    ReadWeights(weights, type, 1, &sources.notes);
    CHECK(sources.HoldsCodes());
    CHECK(sources.notes.back().what == "seen");
    return weights.blocks[0].linears[kQ].weight;
  };
  const Matrix<float> codes = load(false, false, WeightType::kNative).Decode();
  for (const WeightType type : {WeightType::kNative, WeightType::kFp16}) {
    const Weight decoded = load(false, true, type);
    CHECK_FALSE(decoded.quantized());
    REQUIRE(decoded.dense().has_value());
    CHECK(decoded.dense()->type == DenseRows::Type::kFp16);  // which holds 64ths
    CHECK(testing::SameBits(decoded.Decode(), codes));
  }
  CHECK_ERROR(load(true, true, WeightType::kNative), "has the inputs of layers.0.self_attn.q_proj",
              "int8 row asym", "--candidate");
}

TEST_CASE("foreign_checkpoint: an embedding has no inputs to round, and a head that is one says so",
          "[foreign_checkpoint]") {
  for (const bool tied : {false, true}) {
    TinyModel shape = kForeignShape;
    shape.tied = tied;
    const TempDir dir;
    const OpenedTensors opened = OpenTensors(dir, WithCodes("model.embed_tokens", shape), shape);
    MatrixSources sources{.foreign = std::make_shared<ByteCheckpoint>(opened.checkpoint)};
    const auto map = [&] {
      return MapWeights(opened.config, opened.checkpoint, WeightType::kNative, &sources);
    };
    if (tied) {
      CHECK_ERROR(map(), "rounded inputs of a head that is the embedding");
    } else {
      CHECK_FALSE(map().embedding.activations);
    }
  }
}

TEST_CASE("foreign_checkpoint: numbers beyond FP16 are held in FP32, looked-up ones as they are",
          "[foreign_checkpoint]") {
  auto packed = std::make_shared<PackedMatrix>(
      2, 16, WeightScheme{.bits = 8, .granularity = Granularity::kRow});
  for (size_t r = 0; r < 2; ++r) {
    packed->set_affine(r, 0, {.scale = HalfToFloat(0x3555), .zero = 100});
    packed->SetCodes(r, std::vector<uint8_t>(16, static_cast<uint8_t>(3 + 7 * r)));
  }
  const Weight codes{std::shared_ptr<const PackedMatrix>(packed)}, blocks = codes.AsBlocks();
  CHECK(blocks.in_blocks());
  CHECK_FALSE(blocks.quantized());
  CHECK(blocks.StorageBits() == codes.StorageBits());
  CHECK(testing::SameBits(blocks.Decode(), codes.Decode()));
  const Weight decoded = blocks.Decoded();
  REQUIRE(decoded.dense().has_value());
  CHECK(decoded.dense()->type == DenseRows::Type::kFp32);
  CHECK_FALSE(decoded.owned());  // but the checkpoint's
  CHECK(testing::SameBits(decoded.Decode(), codes.Decode()));
  CHECK(blocks.RoundedRows("m").Decode()(0, 0) == RoundToHalf(codes.Decode()(0, 0)));
}

TEST_CASE("foreign_checkpoint: what no reader takes is refused as ever", "[foreign_checkpoint]") {
  const TempDir dir;
  FileTensors tensors = WithCodes();
  tensors["model.more"] = {"U8", {1}, "x"};
  const OpenedTensors opened = OpenTensors(dir, tensors);
  MatrixSources sources{.foreign = std::make_shared<ByteCheckpoint>(opened.checkpoint)};
  CHECK_ERROR(MapWeights(opened.config, opened.checkpoint, WeightType::kNative, &sources),
              "model.more");
  CHECK_ERROR(MapWeights(opened.config, opened.checkpoint, WeightType::kNative),
              "self_attn.q_proj.weight");
}

TEST_CASE("foreign_checkpoint: a folder that says that it is of codes and holds none is refused",
          "[foreign_checkpoint]") {
  const TempDir dir;
  testing::WriteTinyModel(
      dir.path(), {.hidden = 16, .intermediate = 16, .layers = 1, .vocab = testing::kLetterPieces});
  testing::WriteLetterTokenizer(dir.path());
  const ForeignOpener open = [](const auto&, std::shared_ptr<const Checkpoint> checkpoint, auto*) {
    return std::make_shared<const ByteCheckpoint>(std::move(checkpoint));
  };
  CHECK_ERROR(LoadModel("m", dir.path(), WeightType::kNative, 1, open), "(bytes)",
              "plain numbers alone", "without quantization_config");
}

TEST_CASE("foreign_checkpoint: quantization_config passes where somebody reads it",
          "[foreign_checkpoint]") {
  const TempDir dir;
  nlohmann::json config = testing::TinyConfig(kForeignShape);
  config["quantization_config"] = {{"quant_method", "bytes"}};
  testing::WriteFile(dir / "config.json", config.dump());
  CHECK_ERROR(ReadConfig(dir / "config.json"), "quantization_config");
  CHECK(ReadConfig(dir / "config.json", nullptr, true).hidden == 16);
  // Of a model that reads pictures, too, it may stand in the part of the text.
  const nlohmann::json text = {{"model_type", "gemma3_text"},
                               {"hidden_size", 16},
                               {"quantization_config", config["quantization_config"]}};
  testing::WriteFile(dir / "config.json",
                     nlohmann::json{{"model_type", "gemma3"}, {"text_config", text}}.dump());
  CHECK_ERROR(ReadConfig(dir / "config.json"), "quantization_config");
  const std::string other =
      testing::ErrorMessage([&] { ReadConfig(dir / "config.json", nullptr, true); });
  CHECK_FALSE(testing::Contains(other, "quantization_config"));
}

TEST_CASE("foreign_checkpoint: notes of the same words are added up", "[foreign_checkpoint]") {
  std::vector<CountedNote> notes = {{"a", 1, "groups"}};
  AddNotes({{"a", 2, "groups"}, {"a", 5, "rows"}, {"b", 1, ""}}, notes);
  REQUIRE(notes.size() == 3);
  CHECK(notes[0].count == 3);
  CHECK(notes[1].count == 5);
}

}  // namespace
}  // namespace quantref
