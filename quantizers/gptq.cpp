#include "quantizers/gptq.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "harness/base/check.h"
#include "harness/quant/grid.h"
#include "quantizers/gptq_solver.h"
#include "quantizers/gptq_solver_grid.h"

namespace quantref {
namespace {

constexpr std::array kGptqKnobs = {
    Knob{"damp", "share of the mean diagonal of H that is added to it", Knob::Kind::kReal, 0.01},
    Knob{"block", "columns whose updates are applied together", Knob::Kind::kCount, 128, 1, 65536},
    Knob{"act_order", "columns by descending diagonal of H", Knob::Kind::kFlag, 1},
    Knob{"static_groups", "groups' grids from the original weights", Knob::Kind::kFlag, 1},
    Knob{"true_sequential", "calibrate each linear on those before it as rounded",
         Knob::Kind::kFlag, 0},
    Knob{"asymmetric", "outputs are to be those on the unquantized model's inputs (GPTAQ)",
         Knob::Kind::kFlag, 0},
    Knob{"asymmetry", "share of the term that asymmetric adds", Knob::Kind::kReal, 0.25, 0, 1,
         "asymmetric"},
    Knob{"mse_clip", "grids that clip where that lowers the error of rounding", Knob::Kind::kFlag,
         0},
};

Matrix<float> WithoutColumns(MatrixView<const float> weights, std::span<const uint32_t> columns) {
  Matrix<float> rest(weights.rows(), weights.cols());
  for (size_t r = 0; r < weights.rows(); ++r) {
    std::copy_n(weights.row(r), weights.cols(), rest.row(r));
    for (const uint32_t column : columns) rest(r, column) = 0;
  }
  return rest;
}

}  // namespace

std::span<const Knob> Gptq::knobs() const { return kGptqKnobs; }

DataNeeds Gptq::needs(const Knobs& knobs) const {
  return {.gram = true,
          .cross = knobs.Flag("asymmetric"),
          .true_sequential = knobs.Flag("true_sequential")};
}

bool Gptq::Reorders(const WeightScheme& scheme, const Knobs& knobs) const {
  return scheme.granularity == Granularity::kGroup && knobs.Flag("act_order") &&
         !knobs.Flag("static_groups");
}

Rounded Gptq::Round(const RoundInput& input) const {
  if (input.inputs == nullptr) {
    return {RoundToNearest(input.weights, input.scheme, input.limits),
            "looked up: gptq has no inputs to go by", "rtn"};
  }
  QR_CHECK_EQ(input.inputs->gram.rows(), input.weights.cols());
  const Knobs knobs = Settings(input);
  GptqAsymmetry asymmetry{.alpha = knobs.Real("asymmetry")};
  if (knobs.Flag("asymmetric")) {
    asymmetry.cross = input.inputs->cross.view();
    QR_CHECK_EQ(asymmetry.cross.rows(), input.weights.cols());
  }
  const GptqFactor factor =
      Factorize(input.inputs->gram.view(), knobs.Real("damp"), knobs.Flag("act_order"), asymmetry);
  MatrixView<const float> weights = input.weights;
  Matrix<float> alive;
  if (!factor.dead.empty()) {
    alive = WithoutColumns(weights, factor.dead);
    weights = alive.view();
  }

  Rounded rounded{PackedMatrix(weights.rows(), weights.cols(), input.scheme)};
  PackedMatrix& packed = rounded.packed;
  const bool groups = input.scheme.granularity == Granularity::kGroup && packed.scale_cols() > 1;
  const GptqOptions options{.block = knobs.Count("block"),
                            .regroup = groups && !knobs.Flag("static_groups"),
                            .mse_clip = knobs.Flag("mse_clip"),
                            .threads = input.threads};
  if (options.mse_clip && !options.regroup) {
    SearchGrids(weights, input.limits, input.threads, packed);
  } else {
    ChooseGrids(weights, input.limits, packed);  // with regroup for its checks and exponent
  }
  if (groups && Reorders(input.scheme, knobs)) packed.set_order(factor.order);
  GptqSolve(weights, input.limits, factor, options, packed);
  if (factor.damp != knobs.Real("damp")) {
    rounded.note = fmt::format("damp raised to {:.6g}", factor.damp);
  }
  return rounded;
}

}  // namespace quantref
