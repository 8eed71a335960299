#pragma once

#include <span>

#include "harness/base/matrix.h"
#include "harness/model/rope.h"

namespace quantref {

// Gradients of the operations between a block's linears; their forwards are RmsNorm and ApplyRope
// of harness/model/ops.h, and SiluGate here. T = rows.

// y = x / sqrt(mean(x^2) + eps) * gain, row by row (Zhang and Sennrich 2019, eq. 4). With n = x /
// sqrt(mean(x^2) + eps): dx += (gain dy - n mean(gain dy n)) / sqrt(mean(x^2) + eps), dgain += dy
// n.
void RmsNormBackward(MatrixView<const float> x, std::span<const float> gain, double eps,
                     MatrixView<const float> dy, MatrixView<float> dx, std::span<float> dgain);

// gain = the sum of the rows, in their order: of parts that tiles of tokens gave, the same whoever
// made them.
void SumRows(MatrixView<const float> parts, std::span<float> gain);

// A rotation's gradient is rotated back: a table whose angles have the other sign, for ApplyRope.
RopeTable RotatedBack(const ModelConfig& config, size_t length);

// hidden = silu(gate) up (Shazeer 2020, eq. 6, without the products); silu(g) = g s, s =
// 1 / (1 + exp(-g)).
void SiluGateForward(MatrixView<const float> gate, MatrixView<const float> up,
                     MatrixView<float> hidden);

// In place: gate becomes dgate = dhidden up (s + silu(gate) (1 - s)), up becomes dup = dhidden
// silu(gate).
void SiluGateBackward(MatrixView<const float> dhidden, MatrixView<float> gate,
                      MatrixView<float> up);

// Rows of the embedding, (vocab, hidden), were looked up by these ids: dtable's row of each id gets
// its row of dh added, in the order of the tokens.
void EmbeddingBackward(std::span<const uint32_t> ids, MatrixView<const float> dh,
                       MatrixView<float> dtable);

}  // namespace quantref
