#pragma once

#include <cstddef>
#include <cstdint>

// This header is included by files compiled for other instruction sets: plain types and
// declarations only, no standard containers and no inline functions (the linker may keep the wide
// copy of one for the whole program).

namespace quantref {

inline constexpr size_t kLookUpSize = 16;

// The elementwise work of a transformer, one table an instruction set. All tables give
// bit-identical results: every operation is an IEEE single or double operation in a fixed order (16
// lanes, folded pairwise), without fused multiply-add. No function allocates. Arrays need no
// alignment and may not overlap unless they are the same array.
struct VectorOps {
  const char* name;

  // out[i] = the exact value of the FP16 / BF16 pattern in[i].
  void (*half_to_float)(const uint16_t* in, float* out, size_t n);
  void (*bfloat_to_float)(const uint16_t* in, float* out, size_t n);

  // out[i] = scale * (codes[i] - zero); exact, as an FP16 scale times an integer below 2^9 fits
  // FP32.
  void (*decode_codes)(const uint8_t* codes, size_t n, float scale, float zero, float* out);

  // out[i] = scale * table[codes[i]]; codes below kLookUpSize, the size of the table.
  void (*look_up)(const uint8_t* codes, size_t n, const float* table, float scale, float* out);

  // codes[i] = the i-th field of `bits` (2..8) bits, counted from the least significant bit of
  // packed[0]. Reads up to 8 bytes beyond the last code.
  void (*unpack_codes)(const uint8_t* packed, int bits, size_t n, uint8_t* codes);

  // out = x / sqrt(mean(x^2) + eps) * gain (Zhang and Sennrich 2019, eq. 4).
  void (*rms_norm)(const float* x, const float* gain, float eps, float* out, size_t n);

  // out = (x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps) * gain + bias (Ba et al. 2016, eq. 4).
  void (*layer_norm)(const float* x, const float* gain, const float* bias, float eps, float* out,
                     size_t n);

  // out = gate * sigmoid(gate) * up (SwiGLU: Shazeer 2020, eq. 6, without the products).
  void (*silu_multiply)(const float* gate, const float* up, float* out, size_t n);

  // out = GELU(gate) * up, by GELU's approximation x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715
  // x^3))) (Hendrycks and Gimpel 2016, section 2).
  void (*gelu_multiply)(const float* gate, const float* up, float* out, size_t n);

  // x[i] = max(x[i], 0); x[i] = cap * tanh(factor * x[i]).
  void (*relu)(float* x, size_t n);
  void (*soft_cap)(float* x, float factor, float cap, size_t n);

  // Rotates the pairs (x[i], x[i + half]) by the angles whose cosines and sines are given (Su et
  // al. 2021, eq. 34, in the half-split layout of Hugging Face checkpoints).
  void (*rope)(float* x, const float* cosines, const float* sines, size_t half);

  // x[i] = exp(scale * (x[i] - max x)); returns the sum. scale > 0, n > 0.
  float (*softmax_numerators)(float* x, float scale, size_t n);

  // x[i] *= factor; x[i] += addend[i]; x[i] -= factor * y[i].
  void (*scale)(float* x, float factor, size_t n);
  void (*add)(float* x, const float* addend, size_t n);
  void (*subtract_scaled)(float* x, float factor, const float* y, size_t n);

  // For attention with few queries: out[s] = x . rows[s] and out[i] = sum_s weights[s] rows[s][i],
  // summed in the order of s. Row s, of n elements, begins at rows + s * stride.
  void (*dots)(const float* x, const float* rows, size_t stride, size_t count, size_t n,
               float* out);
  void (*mix_rows)(const float* weights, const float* rows, size_t stride, size_t count, size_t n,
                   float* out);

  // The largest |x[i]|, 0 for n = 0. A NaN may be passed over.
  float (*abs_max)(const float* x, size_t n);

  // out[i] = scale * clamp(round(x[i] / scale), -limit, limit): to nearest, ties to even; limit an
  // integer below 2^22. scale 0 (or n zeros) gives zeros; a NaN stays one.
  void (*round_to_grid)(const float* x, float scale, float limit, float* out, size_t n);

  // log(sum_i exp(x[i])) in double. n > 0. top, where not null: the index of the first largest
  // element, if none is NaN.
  double (*log_sum_exp)(const float* x, size_t n, size_t* top);

  // sum_i exp(a[i] - log_sum_a) * (a[i] - b[i]) in double, where log_sum_a = log_sum_exp(a): the
  // mean under a's distribution of the difference of two rows of logits. Exactly 0 where the rows
  // are equal.
  double (*mean_difference)(const float* a, double log_sum_a, const float* b, size_t n);

  // p[i] = exp(x[i] - log_sum) in double, where log_sum = log_sum_exp(x); and sum_i p[i] (a[i] -
  // b[i]), which has the bits of mean_difference where p are a's: for several rows against one.
  void (*probabilities)(const float* x, double log_sum, double* p, size_t n);
  double (*weighted_difference)(const double* p, const float* a, const float* b, size_t n);
};

extern const VectorOps kScalarOps;
extern const VectorOps kAvx2Ops;
extern const VectorOps kAvx512Ops;

}  // namespace quantref
