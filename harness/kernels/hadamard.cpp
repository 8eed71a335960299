#include "harness/kernels/hadamard.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "harness/base/check.h"
#include "harness/base/parallel.h"
#include "harness/kernels/hadamard_matrix.h"
#include "harness/kernels/table_for.h"

namespace quantref {
namespace {

// A rotation, ready for its kernels.
struct PreparedRotation {
  PreparedRotation(const Rotation& rotation, Isa isa)
      : kernels(HadamardKernelsFor(isa)),
        ops(OpsFor(isa)),
        core(HadamardCore(rotation.order).value_or(0)),
        stride(rotation.stride),
        factor(static_cast<float>(1 / std::sqrt(static_cast<double>(rotation.order)))) {
    QR_CHECK(core > 0);
    QR_CHECK(stride > 0);
    power = rotation.order / core;
    if (core > 1) signs = &HadamardCoreMatrix(core);
  }
  size_t channels() const { return core * power * stride; }

  // x: of so many channels.
  void Apply(float* x, std::vector<float>& scratch) const {
    const size_t width = power * stride, n = core * width;
    kernels.butterflies(x, core, power, stride);
    if (core == 1) return ops.scale(x, factor, n);
    if (scratch.size() < n) scratch.resize(n);
    kernels.mix(signs->data(), core, x, width, factor, scratch.data());
    std::copy_n(scratch.data(), n, x);
  }

  const HadamardKernels& kernels;
  const VectorOps& ops;
  const size_t core, stride;
  const float factor;
  size_t power = 1;
  const Matrix<float>* signs = nullptr;
};

}  // namespace

const HadamardKernels& HadamardKernelsFor(Isa isa) {
  return TableFor(isa, kScalarHadamard, kAvx2Hadamard, kAvx512Hadamard);
}

void ApplyRotation(const Rotation& rotation, MatrixView<float> x, std::vector<float>& scratch,
                   Isa isa) {
  if (rotation.order <= 1) return;
  const PreparedRotation prepared(rotation, isa);
  QR_CHECK_EQ(x.cols() % prepared.channels(), 0u);
  for (size_t r = 0; r < x.rows(); ++r) {
    for (size_t at = 0; at < x.cols(); at += prepared.channels())
      prepared.Apply(x.row(r) + at, scratch);
  }
}

// Some columns at a time are one row whose channels lie that far apart.
void RotateColumns(const Rotation& rotation, MatrixView<float> x, size_t threads) {
  constexpr size_t kColumns = 32;
  ParallelFor((x.cols() + kColumns - 1) / kColumns, threads, [&](size_t tile, size_t) {
    const size_t first = tile * kColumns, count = std::min(kColumns, x.cols() - first);
    Matrix<float> columns(1, x.rows() * count);
    std::vector<float> scratch;
    for (size_t r = 0; r < x.rows(); ++r)
      std::copy_n(x.row(r) + first, count, columns.data() + r * count);
    ApplyRotation({rotation.order, rotation.stride * count}, columns.view(), scratch);
    for (size_t r = 0; r < x.rows(); ++r)
      std::copy_n(columns.data() + r * count, count, x.row(r) + first);
  });
}

double RotationFlops(const Rotation& rotation, size_t channels) {
  if (rotation.order <= 1) return 0;
  const size_t core = HadamardCore(rotation.order).value_or(rotation.order);
  const size_t levels = static_cast<size_t>(std::bit_width(rotation.order / core) - 1);
  const size_t of_core = core > 1 ? core : 0;
  return static_cast<double>(channels) * static_cast<double>(levels + of_core + 1);
}

}  // namespace quantref
