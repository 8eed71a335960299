#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "harness/base/sha256.h"
#include "harness/method/quantize_model.h"
#include "harness/model/transformer.h"
#include "harness/quant/encoded_matrix.h"
#include "harness/testing/testing.h"
#include "harness/testing/tiny_model.h"

// A form of weights that is read and never made, from the weight to the figures of a model.

namespace quantref {
namespace {

// Bytes of sign and magnitude times a power of two of the row: nothing that a Grid can hold.
class ByteRows final : public EncodedMatrix {
 public:
  explicit ByteRows(MatrixView<const float> values) : cols_(values.cols()) {
    for (size_t r = 0; r < values.rows(); ++r) {
      float absmax = 0;
      for (const float value : values.row_span(r)) absmax = std::max(absmax, std::fabs(value));
      powers_.push_back(static_cast<int8_t>(std::ilogb(absmax) - 6));
      for (const float value : values.row_span(r))
        bytes_.push_back(static_cast<int8_t>(std::ldexp(value, -powers_.back()) / 1.01f));
    }
  }
  size_t rows() const override { return powers_.size(); }
  size_t cols() const override { return cols_; }
  void DecodeRow(size_t row, std::span<float> values) const override {
    for (size_t c = 0; c < cols_; ++c)
      values[c] = std::ldexp(static_cast<float>(bytes_[row * cols_ + c]), powers_[row]);
  }
  size_t StorageBits() const override { return 8 * (bytes_.size() + powers_.size()); }
  std::string Sha256() const override {
    return Sha256Hex("byte rows " + Sha256Hex(std::span<const int8_t>(bytes_)) +
                     Sha256Hex(std::span<const int8_t>(powers_)));
  }

 private:
  size_t cols_;
  std::vector<int8_t> bytes_, powers_;
};

struct Model {
  Model() {
    const testing::TempDir dir;
    testing::WriteTinyModel(dir.path(), {});
    config = ReadConfig(dir / "config.json");
    weights = LoadWeights(config, Checkpoint::Open(dir.path()), WeightType::kNative, 1);
  }
  ModelConfig config;
  ModelWeights weights;
};

Weight Encoded(const Weight& weight) {
  return Weight(std::make_shared<const ByteRows>(weight.Decode().view()));
}

TEST_CASE("encoded weight: a weight that can only be decoded is quantized, and stays as it is") {
  const Model model;
  const Weight& before = model.weights.blocks[0].linears[kDown].weight;
  const Weight weight = Encoded(before);
  CHECK(weight.quantized());
  CHECK(weight.rows() == before.rows());
  CHECK(weight.cols() == before.cols());
  CHECK(weight.packed() == nullptr);
  CHECK(weight.tiled() == nullptr);
  CHECK_FALSE(weight.dense());
  CHECK_FALSE(weight.owned());
  CHECK_FALSE(weight.stored_in_16_bits());
  CHECK(weight.WithKernels().SharesStorage(weight));
  CHECK_FALSE(weight.SharesStorage(before));
  CHECK(weight.StorageBits() == 8 * (32 * 48 + 32));
  const ByteRows same(before.Decode().view());
  CHECK(weight.CodesSha256() == same.Sha256());
  const Matrix<float> decoded = weight.Decode();
  std::vector<float> row(48), found(48);
  same.DecodeRow(7, row);
  CHECK(std::equal(row.begin(), row.end(), decoded.row(7)));
  weight.DecodeRows(7, {found.data(), 1, found.size()});
  CHECK(found == row);
}

TEST_CASE("encoded weight: the forward is that of the decoded numbers, and the bits are its own") {
  Model encoded, decoded;
  for (size_t b = 0; b < 2; ++b) {
    for (size_t i = 0; i < kLinears; ++i) {
      Weight& weight = encoded.weights.blocks[b].linears[i].weight;
      weight = Encoded(weight);
      decoded.weights.blocks[b].linears[i].weight = Weight(weight.Decode());
    }
  }
  std::vector<uint32_t> ids;  // more than the products take that read weights as they are stored
  for (uint32_t t = 0; t < 24; ++t) ids.push_back((7 * t + 3) % 64);
  Workspace work;
  const auto hidden = [&](const Model& model) {
    const Matrix<float> h = Transformer(model.config, model.weights, ids.size()).Hidden(ids, work);
    return std::vector<float>(h.data(), h.data() + h.rows() * h.cols());
  };
  CHECK(hidden(encoded) == hidden(decoded));
  CHECK(DecodedEachCall(encoded.weights).size() == 2 * kLinears);
  double bits = 0, count = 0;
  for (const BlockWeights& block : encoded.weights.blocks) {
    for (const Linear& linear : block.linears) {
      bits += 8.0 * static_cast<double>(linear.weight.rows() * (linear.weight.cols() + 1));
      count += static_cast<double>(linear.weight.rows() * linear.weight.cols());
    }
  }
  CHECK(MeasureBits(encoded.weights).blocks == Approx(bits / count).epsilon(1e-12));
  const std::string hash = HashQuantized(encoded.weights);
  CHECK(hash != HashQuantized(decoded.weights));
  Weight& changed = encoded.weights.blocks[1].linears[kUp].weight;
  Matrix<float> values = changed.Decode();
  values(5, 5) = -values(5, 5) + 1;
  changed = Weight(std::make_shared<const ByteRows>(values.view()));
  CHECK(HashQuantized(encoded.weights) != hash);
}

}  // namespace
}  // namespace quantref
