#pragma once

#include <optional>
#include <string>
#include <vector>

#include "eval/accuracy/subject.h"
#include "eval/record/free_cores.h"
#include "eval/speed/kernel_key.h"
#include "harness/model/weights.h"

namespace quantref {

// What is timed, and the times that came of it.

struct ThroughputSpec {
  bool measure = true;
  bool kernels = true;          // each distinct linear of the model, each standard shape
  bool standard_shapes = true;  // 4096x4096, 11008x4096, 4096x11008, 14336x4096
  std::vector<size_t> tokens = {1, 8, 32, 128, 512};  // M of the kernels
  size_t prefill = 512, decode = 64;                  // tokens; 0: not measured
  size_t repetitions = 5;
  std::vector<size_t> threads = {1};  // each is measured apart
  bool operator==(const ThroughputSpec&) const = default;
};

// A contestant: a model of the run, ready to be timed. The first is the reference.
struct ThroughputModel {
  const Subject* subject;
  // Whose products are timed one by one; nullptr: it has none of ours, and the model alone is
  // timed.
  const ModelWeights* weights;
};

// Wall times of one thing, in the order in which they were taken.
struct Samples {
  std::vector<double> seconds;
  size_t repeats = 1;     // a sample is the mean of so many in a row
  double Median() const;  // of at least one sample
  double Low() const;     // quartiles, interpolated
  double High() const;
};

// A product y (tokens, rows) = x W^T of one linear as the model runs it, rounding of activations
// included. Contestants without codes have random weights, and one of FP16 always takes part. A
// product that would take seconds is not measured, and one that takes long has fewer samples than
// asked.
struct KernelTiming {
  KernelKey key;
  size_t rows, cols, tokens, threads;
  bool streamed;  // the weights came from memory: copies larger than the cache took turns
  size_t bytes;   // of weights read
  Samples samples;
  Samples fp16, openblas;  // the same product, interleaved; empty where not measured
  // Of codes: whether they were multiplied as they are, or decoded panel by panel for FP32 products
  // (MultipliesCodes).
  std::optional<bool> codes{};
};

// Of all `tokens` together: a prefill from nothing to the logits of the last position, or that many
// tokens decoded one after another behind the prefill, each with its logits.
struct ModelTiming {
  size_t tokens, threads;  // tokens: as asked, or what the model's context has room for
  Samples samples;
};

// What the machine gave in the same minutes, on the threads of the samples.
struct Roofline {
  size_t threads;
  double read_gbps_memory, read_gbps_cache;  // streaming reads larger and smaller than the L3
  double fp32_gflops, int8_gops;             // with the units of the active instruction set
};

// kernels: of the model's linears (the embedding and a head without codes apart) and of the
// standard shapes, for each of the cell's formats.
struct CellThroughput {
  std::vector<KernelTiming> kernels;
  std::vector<ModelTiming> prefill, decode;
  std::vector<std::string> decoded_each_call;  // DecodedEachCall of the model, if ours
};

struct Throughput {
  std::vector<CellThroughput> cells;  // as the models
  std::vector<Roofline> rooflines;    // one for each thread count
  FreeCores cores;
};

}  // namespace quantref
