#include "eval/throughput_contestants.h"

#include <fmt/format.h>

#include <cstring>

#include "harness/base/check.h"
#include "harness/base/huge_memory.h"
#include "harness/kernels/check_products.h"

namespace quantref {
namespace {

std::string OpName(const WeightScheme& scheme, const std::optional<ActivationFormat>& activations) {
  const std::string name = SchemeName(scheme);  // "int4 g128 asym"
  std::string op = fmt::format("w{}a{}{}", scheme.bits, activations ? activations->bits : 16,
                               name.substr(name.find(' ')));
  if (activations && !activations->per_token)
    op += activations->static_scale ? " tensor static" : " tensor";
  return op;
}

}  // namespace

std::optional<KernelFormat> FormatOf(const Linear& linear) {
  if (!linear.weight.quantized()) return KernelFormat{kHalfOp, {}, {}};
  if (linear.weight.tiled() == nullptr) return std::nullopt;
  const WeightScheme& scheme = linear.weight.tiled()->scheme();
  return KernelFormat{OpName(scheme, linear.activations), scheme, linear.activations};
}

Contestant::Contestant(const KernelFormat& format, const Weight* first, size_t rows, size_t cols,
                       size_t copies, Rng& rng)
    : format_(format) {
  if (format.op == kHalfOp) {
    AddHalves(rows, cols, copies, rng);
    return;
  }
  if (first != nullptr) copies_.push_back({"", *first, {}, format.activations});
  while (copies_.size() < copies) {
    copies_.push_back({"",
                       Weight(std::make_shared<const TiledMatrix>(
                           TiledMatrix::Random(rows, cols, format.scheme, rng))),
                       {},
                       format.activations});
  }
}

// The same numbers in every copy: what counts is that they lie elsewhere.
void Contestant::AddHalves(size_t rows, size_t cols, size_t copies, Rng& rng) {
  const size_t count = rows * cols, bytes = count * sizeof(uint16_t);
  halves_ = AllocateHuge(copies * bytes);
  constexpr uint64_t kSignsAndMantissas = 0x83ff83ff83ff83ff, kNearOne = 0x2800280028002800;
  for (size_t i = 0; i < count; i += 4) {  // of magnitudes 2^-5 to 2^-4
    const uint64_t four = (rng.Next() & kSignsAndMantissas) | kNearOne;
    std::memcpy(halves_.get() + i * sizeof(uint16_t), &four,
                std::min<size_t>(4, count - i) * sizeof(uint16_t));
  }
  for (size_t c = 0; c < copies; ++c) {
    uint8_t* at = halves_.get() + c * bytes;
    if (c > 0) std::memcpy(at, halves_.get(), bytes);
    const Tensor tensor{
        "", DType::kF16, {rows, cols}, reinterpret_cast<const std::byte*>(at), bytes};
    copies_.push_back({"", Weight(tensor, WeightType::kNative), {}, {}});
  }
}

void Contestant::Run(MatrixView<const float> x, MatrixView<float> y, LinearScratch& scratch) {
  last_ = (last_ + 1) % copies_.size();
  ApplyLinear(copies_[last_], x, y, scratch);
}

bool Contestant::IsRight(MatrixView<const float> x, MatrixView<const float> y, Rng& rng) const {
  const Weight& weight = copies_[last_].weight;
  if (weight.tiled() != nullptr)
    return EqualsReference(x, format_.activations, *weight.tiled(), y, rng);
  const std::optional<DenseRows> dense = weight.dense();
  QR_CHECK(dense.has_value());
  return SampledError(x, *dense, y, rng) <= ErrorBound(weight.cols());
}

size_t Contestant::bytes() const {
  return weight().tiled() != nullptr ? weight().tiled()->bytes()
                                     : weight().rows() * weight().cols() * sizeof(uint16_t);
}

}  // namespace quantref
