// The reference: what qgemm_kernels.h says, one product after another.
#include "harness/kernels/qgemm_pack.inc"

namespace quantref {
namespace {

float HalfValue(uint16_t half) {
  const int exponent = half >> 10 & 31, mantissa = half & 1023;
  const float magnitude =
      exponent == 0 ? __builtin_ldexpf(static_cast<float>(mantissa), -24)
                    : __builtin_ldexpf(static_cast<float>(mantissa + 1024), exponent - 25);
  return half >> 15 ? -magnitude : magnitude;
}

// The stored bits of an output of a panel, an input of the group.
int32_t StoredCode(const QgemmWeights& w, const uint8_t* group, size_t output, size_t input) {
  const size_t row = input % kBlockTerms / kDotTerms;
  const uint8_t* block = group + input / kBlockTerms * 64 * static_cast<size_t>(w.bits) +
                         output * kDotTerms + input % kDotTerms;
  switch (w.bits) {
    case 8:
      return block[64 * row];
    case 4:
      return block[row / 2 * 64] >> (4 * (row % 2)) & 15;
    case 2:
      return block[row / 4 * 64] >> (2 * (row % 4)) & 3;
    default:
      return (block[row / 4 * 64] >> (2 * (row % 4)) & 3) | (block[128] >> row & 1) << 2;
  }
}

int32_t CodeOf(const QgemmWeights& w, const uint8_t* group, size_t output, size_t input) {
  const int32_t stored = StoredCode(w, group, output, input);
  return w.form == CodeForm::kLooked ? w.look_up[stored] : stored;
}

float FloatAt(const uint8_t* numbers, size_t g, size_t output) {
  float value;
  __builtin_memcpy(&value, numbers + (g * kPanelRows + output) * sizeof(value), sizeof(value));
  return value;
}

float ScaleOf(const QgemmWeights& w, const uint8_t* panel, size_t g, size_t output) {
  const uint8_t* scales = panel + w.scales_at;
  if (w.wide_scales) return FloatAt(scales, g, output);
  uint16_t scale;
  __builtin_memcpy(&scale, scales + (g * kPanelRows + output) * sizeof(scale), sizeof(scale));
  return HalfValue(scale);
}

// The sum over a group of one row of activations times (code - zero).
int32_t Dot(const Qgemm& gemm, const uint8_t* panel, size_t g, size_t output, size_t row) {
  const QgemmWeights& w = gemm.weights;
  const size_t filled = w.steps * w.step;
  const uint8_t* group = panel + g * filled / kBlockTerms * 64 * static_cast<size_t>(w.bits);
  const int32_t zero = panel[w.zeros_at + g * kPanelRows + output];
  const RowBlock block = BlockOf(gemm.inputs, row);
  const int8_t* values = gemm.inputs.values + block.first * RowTerms(w);
  int32_t sum = 0;
  for (size_t k = 0, terms = TermsOf(w, g); k < terms; ++k) {
    const size_t step = g * w.steps + k / w.step;
    const int8_t value = values[(step * block.height + (row - block.first)) * w.step + k % w.step];
    sum += value * (CodeOf(w, group, output, k) - zero);
  }
  return sum;
}

float Output(const Qgemm& gemm, const uint8_t* panel, size_t output, size_t token) {
  const QgemmWeights& w = gemm.weights;
  const size_t digits = gemm.inputs.digits;
  float c = 0;
  for (size_t g = 0; g < w.groups; ++g) {
    const auto dot = [&](size_t d) {
      return static_cast<float>(Dot(gemm, panel, g, output, token * digits + d));
    };
    float f =
        digits == 1 ? dot(0) : __builtin_fmaf(65536, dot(2), __builtin_fmaf(256, dot(1), dot(0)));
    if (w.rests_at > 0) {
      const float rest = FloatAt(panel + w.rests_at, g, output);
      f = __builtin_fmaf(rest, gemm.inputs.totals[g * gemm.inputs.tokens + token], f);
    }
    c = __builtin_fmaf(ScaleOf(w, panel, g, output), f, c);
  }
  return gemm.inputs.scales[token] * c;
}

void MultiplyOp(const Qgemm& gemm, size_t first, size_t end, uint8_t*) {
  const QgemmWeights& w = gemm.weights;
  for (size_t p = first; p < end; ++p) {
    const uint8_t* panel = w.panels + p * w.panel_bytes;
    for (size_t t = 0; t < gemm.inputs.tokens; ++t) {
      for (size_t i = 0; i < Smaller(kPanelRows, w.rows - p * kPanelRows); ++i)
        gemm.y[t * gemm.y_stride + p * kPanelRows + i] = Output(gemm, panel, i, t);
    }
  }
}

size_t ScratchBytesOp(const Qgemm&) { return 0; }

}  // namespace

const QgemmOps kScalarQgemm = {"scalar", PackToken<PlainPacker>, MultiplyOp, ScratchBytesOp};

}  // namespace quantref
