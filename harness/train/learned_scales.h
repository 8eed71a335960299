#pragma once

#include <string>
#include <vector>

#include "harness/base/matrix.h"
#include "harness/quant/packed_matrix.h"
#include "harness/quant/scheme.h"
#include "harness/train/adamw.h"

namespace quantref {

// Scales of a matrix that are trained beside its weights: LSQ (Esser et al. 2020), for the format
// `int`. What they begin with, and zero points, which stay, are those that rounding to nearest
// chooses at the start.
struct LearnedScales {
  Parameter scale;         // as PackedMatrix's scales: (scale rows, scale columns)
  std::vector<int> zeros;  // of each scale
  int exponent = 0;        // of the matrix's frame: scales are stored as FP16 times 2^exponent

  bool empty() const { return scale.empty(); }
};

// Throws Error, naming the matrix, for a scheme of another format.
void CheckLearnsScales(const WeightScheme& scheme, const std::string& name);

LearnedScales MakeLearnedScales(const std::string& name, MatrixView<const float> weights,
                                const WeightScheme& scheme);

// rounded = the values of the weights' codes under the scales as they would be stored: eq. 1 and 2,
// with zero points.
void RoundByScales(MatrixView<const float> weights, const WeightScheme& scheme,
                   const LearnedScales& learned, MatrixView<float> rounded);

// gradient: of the rounded values; becomes that of the weights, which is 0 beyond the codes' ends
// (eq. 5). The scales get theirs (eq. 3): with q = w / scale and codes from -Qn to Qp about the
// zero point, the sum of the gradient times round(q) - q, -Qn below and Qp above, over sqrt(N Qp),
// where N weights share the scale and Qp is 2^(bits - 1) - 1 whatever the zero point (section 2.2).
void ScalesBackward(MatrixView<const float> weights, const WeightScheme& scheme,
                    LearnedScales& learned, MatrixView<float> gradient);

// The codes that RoundByScales's values stand for.
PackedMatrix PackByScales(MatrixView<const float> weights, const WeightScheme& scheme,
                          const LearnedScales& learned);

}  // namespace quantref
