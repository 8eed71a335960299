#include "eval/anatomy/anatomy.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <numeric>

#include "eval/config/run_config.h"
#include "harness/base/clock.h"
#include "harness/base/error.h"
#include "harness/base/parallel.h"
#include "harness/model/plan_model.h"
#include "harness/quant/grid.h"
#include "harness/quant/scale_shape.h"
#include "quantizers/registry.h"

namespace quantref {
namespace {

// No text decides on its bits, and nothing goes on behind its rounding.
bool ChangesNothingElse(const CellConfig& cell) {
  return !cell.IsCandidate() && cell.training == Training::kNone && !cell.budget;
}

// A plan that makes a cell an anatomy's: the rounder is rtn, and nothing goes before it.
std::vector<PlannedLinear> PlanToNearest(const CellConfig& cell, const ModelConfig& shape) {
  const Method method = cell.MakeMethod();
  if (!method.transforms.empty() || !method.model_transforms.empty()) return {};
  std::vector<PlannedLinear> plan = PlanModel(cell.quantize, shape);
  for (PlannedLinear& linear : plan) {
    if (linear.scheme && &method.RounderFor(linear) != &ToNearest()) linear.scheme.reset();
  }
  if (!QuantizesAny(plan)) return {};
  return plan;
}

bool RoundsAlike(const std::vector<PlannedLinear>& a, const std::vector<PlannedLinear>& b) {
  return std::ranges::equal(a, b, {}, &PlannedLinear::scheme, &PlannedLinear::scheme);
}

std::optional<LineSpread> SpreadOf(const std::vector<double>& squares) {
  std::vector<double> norms;  // root mean squares, but for a factor
  for (const double square : squares) norms.push_back(std::sqrt(square));
  const double largest = *std::max_element(norms.begin(), norms.end());
  const double median = Quantile(norms, 0.5);
  if (median == 0) return std::nullopt;
  const auto outliers = std::count_if(norms.begin(), norms.end(),
                                      [&](double norm) { return norm > kOutlierLine * median; });
  return LineSpread{largest / median, static_cast<size_t>(outliers)};
}

// outputs and inputs. Returns the sum of all squares.
double LookAtLines(MatrixView<const float> weights, MatrixAnatomy& matrix) {
  std::vector<double> rows(weights.rows()), cols(weights.cols());
  for (size_t r = 0; r < weights.rows(); ++r) {
    for (size_t c = 0; c < weights.cols(); ++c) {
      const double square = static_cast<double>(weights(r, c)) * weights(r, c);
      rows[r] += square;
      cols[c] += square;
    }
  }
  matrix.outputs = SpreadOf(rows);
  matrix.inputs = SpreadOf(cols);
  return std::accumulate(rows.begin(), rows.end(), 0.0);
}

// The sum over all weights of the squared range of those that share the weight's scale.
double SquaredRanges(MatrixView<const float> weights, const WeightScheme& scheme) {
  const ScaleShape scales = ShapeOfScales(weights.rows(), weights.cols(), scheme);
  std::vector<float> low(scales.cols), high(scales.cols);
  double sum = 0;
  for (size_t first = 0; first < weights.rows(); first += scales.rows_each) {
    std::fill(low.begin(), low.end(), 0.0f);
    std::fill(high.begin(), high.end(), 0.0f);
    const size_t end = std::min(first + scales.rows_each, weights.rows());
    for (size_t r = first; r < end; ++r) {
      for (size_t s = 0, c = 0; s < scales.cols; ++s) {
        for (const size_t end_of_scale = scales.End(s); c < end_of_scale; ++c) {
          low[s] = std::min(low[s], weights(r, c));
          high[s] = std::max(high[s], weights(r, c));
        }
      }
    }
    for (size_t s = 0; s < scales.cols; ++s) {
      const double range = static_cast<double>(high[s]) - low[s];
      sum += range * range * static_cast<double>(scales.Size(s) * (end - first));
    }
  }
  return sum;
}

// squares: the sum of the weights'. `rounded` has the shape of the weights.
RoundingLoss LossOf(MatrixView<const float> weights, const WeightScheme& scheme, double squares,
                    MatrixView<float> rounded) {
  RoundValues(weights, scheme, {}, rounded);
  double error = 0;
  for (size_t r = 0; r < weights.rows(); ++r) {
    for (size_t c = 0; c < weights.cols(); ++c) {
      const double difference = static_cast<double>(weights(r, c)) - rounded(r, c);
      error += difference * difference;
    }
  }
  return {std::sqrt(error / squares), std::sqrt(SquaredRanges(weights, scheme) / squares)};
}

// The first `rows` rows of a linear, the `index`-th of the plans.
MatrixAnatomy LookAt(const Linear& linear, size_t index, size_t rows,
                     std::span<const RoundedCell> cells) {
  MatrixAnatomy matrix{.name = linear.name, .rows = rows, .cols = linear.weight.cols()};
  Matrix<float> values(matrix.rows, matrix.cols);
  linear.weight.DecodeRows(0, values.view());
  const double squares = LookAtLines(values.view(), matrix);
  Matrix<float> rounded;
  for (const RoundedCell& cell : cells) {
    const std::optional<WeightScheme>& scheme = cell.plan[index].scheme;
    matrix.rounded.emplace_back();
    if (!scheme || squares == 0) continue;
    if (rounded.rows() == 0) rounded = Matrix<float>(matrix.rows, matrix.cols);
    matrix.rounded.back() = LossOf(values.view(), *scheme, squares, rounded.view());
  }
  matrix.shape = ShapeOf({values.data(), matrix.rows * matrix.cols});
  return matrix;
}

double WeightsOf(const Linear& linear) {
  return static_cast<double>(linear.weight.rows() * linear.weight.cols());
}

// Places in AllLinears, the largest matrix first: who comes last has little left to do.
std::vector<size_t> LargestFirst(const std::vector<const Linear*>& linears) {
  std::vector<size_t> order(linears.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return WeightsOf(*linears[a]) > WeightsOf(*linears[b]);
  });
  return order;
}

// The place of the first matrix that the most cells round.
size_t MostRounded(size_t linears, std::span<const RoundedCell> cells) {
  std::vector<size_t> times(linears);
  for (const RoundedCell& cell : cells)
    for (size_t i = 0; i < linears; ++i) times[i] += cell.plan[i].scheme.has_value();
  return static_cast<size_t>(std::max_element(times.begin(), times.end()) - times.begin());
}

}  // namespace

std::string RoundedCell::Schemes() const {
  std::vector<std::string> names;
  for (const PlannedLinear& linear : plan) {
    if (!linear.scheme) continue;
    const std::string own = SchemeName(*linear.scheme);
    if (std::find(names.begin(), names.end(), own) == names.end()) names.push_back(own);
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

std::vector<RoundedCell> RoundedCells(const RunOptions& options,
                                      std::span<const RunConfig* const> configs,
                                      const ModelConfig& shape) {
  std::vector<RoundedCell> cells;
  for (const RunConfig* config : configs) {
    for (const CellConfig& cell : config->cells) {
      if (!options.Wants(cell.label) || !ChangesNothingElse(cell)) continue;
      std::vector<PlannedLinear> plan = PlanToNearest(cell, shape);
      if (plan.empty()) continue;
      const std::string name =
          configs.size() == 1 ? cell.label : fmt::format("{} {}", config->name, cell.label);
      const auto same = std::find_if(cells.begin(), cells.end(), [&](const RoundedCell& other) {
        return RoundsAlike(other.plan, plan);
      });
      if (same != cells.end()) {
        same->alike.push_back(name);
      } else {
        cells.push_back({name, {}, std::move(plan)});
      }
    }
  }
  return cells;
}

std::string_view MatrixAnatomy::Kind() const {
  constexpr std::string_view kBlock = "layers.";
  const std::string_view all = name;
  return all.starts_with(kBlock) ? all.substr(all.find('.', kBlock.size()) + 1) : all;
}

std::vector<MatrixAnatomy> MeasureAnatomy(
    const ModelWeights& weights, std::span<const RoundedCell> cells, size_t threads,
    const std::function<void(size_t, size_t, const std::string&)>& progress) {
  const std::vector<const Linear*> linears = AllLinears(weights);
  const std::vector<size_t> order = LargestFirst(linears);
  std::vector<MatrixAnatomy> matrices(linears.size());
  std::mutex mutex;
  size_t done = 0;
  ParallelFor(order.size(), threads, [&](size_t i, size_t) {
    const Linear& linear = *linears[order[i]];
    try {
      matrices[order[i]] = LookAt(linear, order[i], linear.weight.rows(), cells);
    } catch (const Interrupted&) {
      throw;
    } catch (const Error& error) {
      throw Error("it cannot be rounded to nearest: " + error.problem(), linear.name, error.hint());
    }
    const std::lock_guard lock(mutex);
    if (progress) progress(++done, order.size(), linear.name);
  });
  return matrices;
}

double AnatomyBytes(const ModelWeights& weights, size_t threads) {
  const std::vector<const Linear*> linears = AllLinears(weights);
  const std::vector<size_t> order = LargestFirst(linears);
  double sum = 0;
  for (size_t i = 0; i < std::min(threads, order.size()); ++i)
    sum += 2 * sizeof(float) * WeightsOf(*linears[order[i]]);  // as they are, and rounded
  return sum;
}

// Rounding goes with the number of weights, sorting with that times its logarithm: what is said of
// larger matrices by a piece is a little much of the one and right of the other.
double AnatomySeconds(const ModelWeights& weights, std::span<const RoundedCell> cells,
                      size_t threads) {
  constexpr double kPiece = 1 << 18;
  const std::vector<const Linear*> linears = AllLinears(weights);
  const size_t index = MostRounded(linears.size(), cells);
  const Linear& linear = *linears[index];
  const size_t rows =
      std::clamp<size_t>(static_cast<size_t>(kPiece / static_cast<double>(linear.weight.cols())), 1,
                         linear.weight.rows());
  const Clock::time_point start = Clock::now();
  ParallelFor(threads, threads, [&](size_t, size_t) { LookAt(linear, index, rows, cells); });
  const double piece = static_cast<double>(rows * linear.weight.cols());
  const double seconds = Since(start);
  double sum = 0, longest = 0;
  for (const Linear* other : linears) {
    const double count = WeightsOf(*other);
    const double own =
        seconds * count / piece * std::log(std::max(count, 2.0)) / std::log(std::max(piece, 2.0));
    sum += own;
    longest = std::max(longest, own);
  }
  return std::max(longest, sum / static_cast<double>(threads));
}

}  // namespace quantref
