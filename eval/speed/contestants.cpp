#include "eval/speed/contestants.h"

#include <fmt/format.h>

#include <cstring>

#include "harness/base/cancel.h"
#include "harness/base/check.h"
#include "harness/base/huge_memory.h"
#include "harness/kernels/check_products.h"
#include "harness/kernels/quantize_activations.h"
#include "harness/model/has_kernel.h"
#include "harness/model/ops.h"
#include "harness/quant/format.h"

namespace quantref {
namespace {

// 64 bits of numbers of magnitudes 2^-5 to 2^-4: which bits are random, and the others.
struct WordOfNumbers {
  DType type;
  uint64_t signs_and_mantissas, exponents;
};
WordOfNumbers WordOf(DenseRows::Type type) {
  switch (type) {
    case DenseRows::Type::kFp16:
      return {DType::kF16, 0x83ff83ff83ff83ff, 0x2800280028002800};
    case DenseRows::Type::kBf16:
      return {DType::kBF16, 0x807f807f807f807f, 0x3d003d003d003d00};
    case DenseRows::Type::kFp32:
      break;
  }
  return {DType::kF32, 0x807fffff807fffff, 0x3d0000003d000000};
}

// Weights as they are kept for outliers; which numbers they are does not matter.
Weight RandomHalves(size_t rows, size_t cols, Rng& rng) {
  Matrix<float> values(rows, cols);
  for (size_t i = 0; i < rows * cols; ++i)
    values.data()[i] = static_cast<float>(rng.Uniform() - 0.5) / 16;
  return Weight::RoundedToHalf(values.view(), "outliers");
}

std::optional<DenseRows> KeptOutliers(const Linear& linear) {
  if (linear.outlier_weights.rows() == 0) return std::nullopt;
  return linear.outlier_weights.dense();
}

}  // namespace

std::string OpName(const KernelKey& key) {
  if (key.dense) return DenseTypeName(*key.dense);
  const std::string scheme = SchemeName(key.scheme);  // "int4 g128 asym", "nf4 g64"
  const size_t end = scheme.find(' ');
  const std::string format = key.scheme.format->affine() ? fmt::format("w{}", key.scheme.bits)
                                                         : scheme.substr(0, end) + " ";
  const auto& rounded = key.activations;
  const bool codes = rounded && DynamicFormat(rounded)->HasIntegerProducts();
  std::string name = fmt::format("{}a{}{}", format, codes ? rounded->bits : 16, scheme.substr(end));
  if (rounded && !codes) name += " " + ActivationName(*rounded);
  if (codes && !rounded->per_token) name += rounded->dynamic ? " tensor" : " tensor static";
  if (codes && rounded->outliers) name += " " + OutlierName(*rounded->outliers);
  return name;
}

KernelFormat DenseFormat(DenseRows::Type type) { return {{.dense = type}}; }

std::optional<KernelFormat> FormatOf(const Linear& linear) {
  if (!linear.weight.quantized()) return DenseFormat(linear.weight.dense().value().type);
  if (!HasKernel(linear)) return std::nullopt;
  KernelFormat format{{.scheme = linear.weight.tiled()->scheme()}, linear.activations};
  if (const auto& rounded = linear.activations)
    format.key.activations =
        ActivationScheme{rounded->bits,     rounded->per_token, !rounded->static_scale,
                         rounded->outliers, rounded->group,     rounded->format};
  return format;
}

Contestant::Contestant(const KernelFormat& format, const Weight* first, size_t rows, size_t cols,
                       size_t copies, Rng& rng)
    : format_(format) {
  if (format.key.dense) {
    AddDense(rows, cols, copies, rng);
    return;
  }
  if (first != nullptr) copies_.push_back({"", *first, {}, format.activations});
  while (copies_.size() < copies) {
    ThrowIfCancelled();
    copies_.push_back({"",
                       Weight(std::make_shared<const TiledMatrix>(
                           TiledMatrix::Random(rows, cols, format.key.scheme, rng))),
                       {},
                       format.activations});
  }
  if (!format.activations || !format.activations->KeepsWeights()) return;
  for (Linear& copy : copies_) copy.outlier_weights = RandomHalves(cols, rows, rng);
}

// The same numbers in every copy: what counts is that they lie elsewhere.
void Contestant::AddDense(size_t rows, size_t cols, size_t copies, Rng& rng) {
  const WordOfNumbers word = WordOf(*format_.key.dense);
  const size_t bytes = rows * cols * DTypeBytes(word.type);
  dense_ = AllocateHuge(copies * bytes);
  for (size_t at = 0; at < bytes; at += sizeof(uint64_t)) {
    const uint64_t numbers = (rng.Next() & word.signs_and_mantissas) | word.exponents;
    std::memcpy(dense_.get() + at, &numbers, std::min(sizeof(numbers), bytes - at));
  }
  for (size_t c = 0; c < copies; ++c) {
    ThrowIfCancelled();
    uint8_t* at = dense_.get() + c * bytes;
    if (c > 0) std::memcpy(at, dense_.get(), bytes);
    const Tensor tensor{"", word.type, {rows, cols}, reinterpret_cast<const std::byte*>(at), bytes};
    copies_.push_back({"", Weight(tensor), {}, {}});
  }
}

void Contestant::Run(MatrixView<const float> x, MatrixView<float> y, LinearScratch& scratch) {
  last_ = (last_ + 1) % copies_.size();
  ApplyLinear(copies_[last_], x, y, scratch);
}

bool Contestant::IsRight(MatrixView<const float> x, MatrixView<const float> y, Rng& rng) const {
  const Weight& weight = copies_[last_].weight;
  if (Multiplies(x.rows()).value_or(false))
    return EqualsReference(x, format_.activations, *weight.tiled(), y, rng,
                           KeptOutliers(copies_[last_]));
  if (weight.tiled() != nullptr) {  // read as decoded panels, in FP32 products
    const Matrix<float> decoded = weight.Decode();
    const DenseRows rows{decoded.data(), DenseRows::Type::kFp32, decoded.rows(), decoded.cols()};
    Matrix<float> rounded;
    if (format_.activations) {
      rounded = Matrix<float>(x.rows(), x.cols());
      QuantizeActivations(*format_.activations, x, rounded.view());
      x = rounded.view();
    }
    return SampledError(x, rows, y, rng) <= ErrorBound(weight.cols());
  }
  const std::optional<DenseRows> dense = weight.dense();
  QR_CHECK(dense.has_value());
  return SampledError(x, *dense, y, rng) <= ErrorBound(weight.cols());
}

std::optional<bool> Contestant::Multiplies(size_t tokens) const {
  if (weight().tiled() == nullptr) return std::nullopt;
  return MultipliesCodes(format_.activations, tokens, FormOfCodes(weight()));
}

size_t Contestant::bytes() const {
  return weight().tiled() != nullptr ? weight().tiled()->bytes() : weight().StorageBits() / 8;
}

}  // namespace quantref
