#pragma once

#include "harness/base/matrix.h"
#include "harness/model/attention.h"

namespace quantref {

// The gradient of CausalAttention (harness/model/attention.h), which is its forward.

// What one window's attention read and gave: q, out (T, heads * head_dim), k, v (T, kv_heads *
// head_dim), queries and keys rotated; and the gradient of out.
struct AttentionTrace {
  MatrixView<const float> q, k, v, out, dout;
};
struct AttentionGradient {
  MatrixView<float> dq, dk, dv;  // of the shapes of q, k, v
};

// One worker's scratch: weights of a tile of queries and their gradient.
struct AttentionBackwardScratch {
  Matrix<float> weights, gradients;
};

// The columns of dq, dk, dv that belong to key/value head `kv_head` and the query heads that read
// it, on the calling thread. The weights are made again, by tiles of queries. With P =
// softmax(scale q k^T) and dP = dout v^T (Vaswani et al. 2017, eq. 1, differentiated as in Dao et
// al. 2022, appendix B.2): dS = P (dP - dout . out), dq = scale dS k, dk = scale dS^T q, dv = P^T
// dout; dk and dv are summed over query heads and tiles in their order.
void AttentionBackward(const AttentionShape& shape, size_t kv_head, const AttentionTrace& trace,
                       const AttentionGradient& gradient, AttentionBackwardScratch& scratch);

}  // namespace quantref
