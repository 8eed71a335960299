// The reference: what codebook_kernels.h says, one product after another.
#include "harness/kernels/codebook_parts.h"

namespace quantref {
namespace {

size_t CodeOf(const QgemmWeights& w, const uint8_t* panel, const Part& part, size_t output,
              size_t term) {
  const uint8_t* line = panel + CodesAt(w, part) + term / kLineTerms * kLineBytes;
  const uint8_t pair = line[CodebookByte(output, term)];
  return term % kLineTerms < kLineTerms / 2 ? pair & 15 : pair >> 4;
}

// q * level, rounded once: 2^23 has no fraction bits left, so adding it rounds.
int32_t RoundedProduct(float q, float level) {
  constexpr float kMagic = 0x1.8p23f;
  return static_cast<int32_t>(__builtin_fmaf(q, level, kMagic) - kMagic);
}

float Output(const CodebookProduct& product, const uint8_t* panel, size_t output, const float* x) {
  const QgemmWeights& w = product.weights;
  const float factor = UnitFactor(product.levels);
  float c = 0;
  for (Part part = PartFrom(w, 0, 0); part.group < w.groups; part = NextPart(w, part)) {
    const PartUnit unit = UnitOf(x + part.first, part.terms, factor);
    int32_t sum = 0;
    for (size_t k = 0; k < part.terms && unit.inverse > 0; ++k) {
      const float q = x[part.first + k] * unit.inverse;
      sum += RoundedProduct(q, product.levels[CodeOf(w, panel, part, output, k)]);
    }
    float scale;
    __builtin_memcpy(&scale, panel + w.scales_at + 4 * (part.group * kPanelRows + output),
                     sizeof(scale));
    c = __builtin_fmaf(scale * unit.unit, static_cast<float>(sum), c);
  }
  return c;
}

void MultiplyOp(const CodebookProduct& product, size_t first, size_t end, uint8_t*) {
  const QgemmWeights& w = product.weights;
  for (size_t p = first; p < end; ++p) {
    const uint8_t* panel = w.panels + p * w.panel_bytes;
    for (size_t t = 0; t < product.tokens; ++t) {
      float* y = product.y + t * product.y_stride + p * kPanelRows;
      for (size_t i = 0; i < Smaller(kPanelRows, w.rows - p * kPanelRows); ++i)
        y[i] = Output(product, panel, i, product.x + t * product.x_stride);
    }
  }
}

}  // namespace

const CodebookKernels kScalarCodebook = {"scalar", MultiplyOp, 0};

}  // namespace quantref
