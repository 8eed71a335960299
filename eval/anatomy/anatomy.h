#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "eval/inputs/options.h"
#include "eval/stats/rank_correlation.h"
#include "eval/stats/sample_shape.h"
#include "harness/model/weights.h"
#include "harness/quant/plan.h"

namespace quantref {

struct RunConfig;

// The anatomy of a model's weights (run_eval --weights): how those of each matrix are distributed,
// what rounding them to nearest costs, and how far the one foretells the other.

// A cell that rounds to nearest and does nothing else to weights.
struct RoundedCell {
  std::string name;                 // of several configs with the config's
  std::vector<std::string> alike;   // names of others that round the same
  std::vector<PlannedLinear> plan;  // in AllLinears' order; a scheme where it is rounded to nearest

  std::string Schemes() const;  // "int4 g128 asym", each once
};

// Those of the wanted cells of a model's configs. Throws Error as PlanModel.
std::vector<RoundedCell> RoundedCells(const RunOptions& options,
                                      std::span<const RunConfig* const> configs,
                                      const ModelConfig& shape);

// How far the lines of a matrix, its rows or its columns, differ: of their root mean squares the
// largest over the median, and how many are beyond kOutlierLine times the median.
struct LineSpread {
  double peak = 0;
  size_t outliers = 0;
};
inline constexpr double kOutlierLine = 3;

// What rounding to nearest does to a matrix.
struct RoundingLoss {
  double error = 0;  // Frobenius norm of the difference over that of the matrix
  // How far weights that share a scale reach: the range from the least to the largest of them, 0
  // always in it; its root mean square over all weights, over that of the weights themselves.
  double reach = 0;
};

struct MatrixAnatomy {
  std::string name;
  size_t rows = 0, cols = 0;
  std::optional<SampleShape> shape{};             // nothing where all weights are equal
  std::optional<LineSpread> outputs{}, inputs{};  // of rows, of columns; nothing: the median is 0
  // By cell; nothing where that leaves the matrix alone, and of one of zeros.
  std::vector<std::optional<RoundingLoss>> rounded{};

  std::string_view Kind() const;  // the name without its layer: "mlp.down_proj"
};

// Of all matrices, in AllLinears' order; the largest are looked at first. The same bits for any
// number of threads. `progress` is called when one is done, not by two threads at once. Throws
// Error, naming the matrix, where one cannot be rounded.
std::vector<MatrixAnatomy> MeasureAnatomy(
    const ModelWeights& weights, std::span<const RoundedCell> cells, size_t threads,
    const std::function<void(size_t done, size_t total, const std::string& name)>& progress = {});

// What as many threads hold at most while they look at matrices, beside the weights: bytes.
double AnatomyBytes(const ModelWeights& weights, size_t threads);

// What it will take: a piece of the weights is measured. Seconds.
double AnatomySeconds(const ModelWeights& weights, std::span<const RoundedCell> cells,
                      size_t threads);

}  // namespace quantref
