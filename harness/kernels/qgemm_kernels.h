#pragma once

#include <cstddef>
#include <cstdint>

// Included by files compiled for other instruction sets: plain types and declarations only, as
// vector_ops.h explains. qgemm.h is the door for everybody else.

namespace quantref {

inline constexpr size_t kPanelRows = 16;   // outputs of W side by side
inline constexpr size_t kDotTerms = 4;     // inputs that one 32-bit lane holds as bytes
inline constexpr size_t kBlockTerms = 32;  // inputs of the smallest stretch of codes
inline constexpr size_t kMaxDigits = 3;
// Inputs that may share a scale: sums of products of bytes, and the correction for zero points,
// then fit 32 bits, and the pairs of QgemmInputs::sums 16 each.
inline constexpr size_t kMaxGroup = 32736;

// What a code stands for, in units of its group's scale.
//   kPlain     code - zero
//   kLooked    look_up[code] - zero: whole numbers that are not evenly spaced
//   kCodebook  any sixteen numbers (codebook_kernels.h)
enum class CodeForm : uint8_t { kPlain, kLooked, kCodebook };
inline constexpr uint8_t kMostLooked = 31;  // so that sums of products of half a block fit 16 bits

// A quantized (rows, cols) matrix in the kernels' layout: panels of kPanelRows rows (the last
// filled up with zeros), each 64-byte aligned:
//   codes   group after group; a group is `steps` steps of `step` inputs, the last of them, which
//           may have fewer inputs, `last_steps`; filled up with codes that meet activations 0; a
//           step is one or two blocks of kBlockTerms inputs, of codebooks half a block.
//   scales  FP16 or FP32, kPanelRows for each group
//   zeros   one byte each, kPanelRows for each group; codebooks have none
//   rests   where zero points need be no codes, FP32, kPanelRows for each group: zero - its byte
// A block is 8 rows of 64 bytes when unpacked: byte 4 i + j of row r is the code of output i, input
// 4 r + j (what VNNI and AMX read). It is stored as 64 * bits bytes:
//   8 bits: as it is
//   4 bits: row r in the low (r even) or high nibbles of the 64 bytes r / 2
//   2 bits: row r in bits 2 (r % 4) of the 64 bytes r / 4
//   3 bits: the low two bits of the codes as 2 bits, then 64 bytes whose bit r is the third bit
// Codebooks have the codes of an input side by side: CodebookByte says where in a row.
struct QgemmWeights {
  const uint8_t* panels;
  size_t rows, cols;
  size_t panel_bytes;
  size_t scales_at, zeros_at;  // bytes from the panel's begin
  size_t rests_at;             // likewise; 0: there are none
  int bits;                    // 2, 3, 4 or 8; but for kPlain 4
  CodeForm form;
  bool wide_scales;      // FP32
  uint8_t look_up[16];   // of kLooked, by code: 0 to kMostLooked
  size_t groups, group;  // inputs that share a scale; the last group has what is left of cols
  size_t step, steps;    // 32 or 64, of codebooks 16; steps * step >= group
  size_t last_steps;     // of the last group: as few as hold its inputs
};

// Activations as integers: x = scale[token] * X, where X is one digit (8 bits or less) or three,
// X = d0 + 256 d1 + 65536 d2, each digit a signed byte. Row v = token * digits + d is one digit of
// one token; rows come in blocks of up to kTileRows (whole tokens; see QgemmBlockRows), in which
//   row v, group g, step s, term k lies at  block's begin + ((g steps + s) height + row) step + k
// where height is the number of rows of the block and row the number in it.
struct QgemmInputs {
  int8_t* values;
  // For each group, each row v: the sum S of the group's values as a pair of 16-bit numbers (a, b),
  // -S = a + 128 b, a low: what a zero point z adds to the group's sum of products is z a + 128 z
  // b.
  int32_t* sums;
  // For each group, each token: X's sum S0 + 256 S1 + 65536 S2 as f of Qgemm is made, negative.
  float* totals;
  // One a token, times 2^exponent of the weights; NaN where an activation is not finite.
  float* scales;
  size_t tokens, digits;
};

// y (tokens, rows) = x W^T of weights that are no codebook. With I_d = sum over a group of digit d
// * (code - zero), or of what it looks up less the zero, exact in int32,
//   f = I_0, or fma(65536, I_2, fma(256, I_1, I_0));  with rests f = fma(rest, total, f);
//   c = fma(w_scale[group], f, c), from 0, in the order of the groups;  y = scale[token] * c
// in FP32: every instruction set gives the same bits, whatever the number of tokens or threads.
struct Qgemm {
  QgemmWeights weights;
  QgemmInputs inputs;
  float* y;
  size_t y_stride;
};

// How activations become digits: q = clamp(round(x / scale), -limit, limit), ties to even; scale =
// absmax / limit of the token, or given (> 0). limit: 2^(b-1) - 1 <= 127 with one digit; kWideLimit
// with three, which leaves 2^-24 of the token's largest magnitude as the error.
struct QgemmRounding {
  float limit;
  bool given;
  float scale;
};
inline constexpr float kWideLimit = 8355711;  // 0x7f7f7f: every digit stays a signed byte

struct QgemmOps {
  const char* name;
  // Writes one token's values, sums and scale; x has weights.cols elements.
  void (*pack_token)(const float* x, const QgemmRounding& rounding, const QgemmWeights& weights,
                     const QgemmInputs& inputs, size_t token);
  // The outputs of panels [first, end), for all tokens. scratch: of scratch_bytes, 64-byte aligned.
  void (*multiply)(const Qgemm& gemm, size_t first, size_t end, uint8_t* scratch);
  size_t (*scratch_bytes)(const Qgemm& gemm);
};

extern const QgemmOps kScalarQgemm;
extern const QgemmOps kAvx2Qgemm;
extern const QgemmOps kAvx512Qgemm;  // with VNNI
extern const QgemmOps kAmxQgemm;     // few tokens: as AVX-512

}  // namespace quantref
