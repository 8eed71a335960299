#pragma once

#include <memory>
#include <span>
#include <vector>

#include "eval/speed/interleave.h"
#include "eval/speed/timing.h"
#include "harness/base/rng.h"
#include "harness/base/team.h"

namespace quantref {

// Roughly what the products of a shape with so many weights are timed with, in so many formats of
// codes and types of plain numbers (dense) beside FP16: bytes, beside the models.
double KernelBytes(const ThroughputSpec& spec, double weights, size_t formats, size_t dense);

// The part of MeasureThroughput that times single products.
class KernelBench {
 public:
  // The models must outlive it.
  KernelBench(std::span<const ThroughputModel> models, const ThroughputSpec& spec);

  ~KernelBench();
  KernelBench(const KernelBench&) = delete;
  KernelBench& operator=(const KernelBench&) = delete;

  size_t steps() const;  // that Measure reports

  // Adds the timings to the cells, which are as the models; formats and shapes that models share
  // are measured once. teams: one for each of spec.threads, null where that is 1.
  void Measure(std::span<const std::unique_ptr<Team>> teams, Steps& steps,
               std::span<CellThroughput> cells, const std::function<void()>& between);

 private:
  struct Shape;
  struct Case;
  struct Field;
  struct Product;
  void AddLinear(size_t cell, const Linear& linear);
  void AddStandardShapes();
  Shape& ShapeOf(size_t rows, size_t cols);
  std::vector<Case> CasesOf() const;
  void AddStreamed(Field& field);
  void MeasureShape(const Shape& shape, std::span<const std::unique_ptr<Team>> teams, Steps& steps,
                    std::span<CellThroughput> cells);
  Contender Prepare(const Product& product, const Case& one, MatrixView<float> y,
                    double& seconds_a_token) const;
  std::vector<KernelTiming> MeasureCase(const Case& one, Field& field, Team* team,
                                        const std::function<void()>& before_sample);

  const ThroughputSpec& spec_;
  std::vector<Shape> shapes_;
  Rng rng_{0x5eed};
};

}  // namespace quantref
