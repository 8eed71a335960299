#include "eval/cost/cost.h"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "eval/accuracy/accuracy.h"
#include "eval/accuracy/kept_logits.h"
#include "eval/cost/cell_time.h"
#include "eval/speed/kernels.h"
#include "eval/speed/models.h"
#include "harness/base/clock.h"
#include "harness/base/rng.h"
#include "harness/kernels/gemm.h"
#include "harness/kernels/probes.h"
#include "harness/method/quantize_model.h"
#include "harness/model/kv_cache.h"
#include "harness/model/kv_codes.h"
#include "harness/model/layout.h"
#include "harness/model/ops.h"
#include "harness/model/synthetic.h"
#include "harness/quant/packed_matrix.h"

namespace quantref {
namespace {

// What of the matrix products' rate a timed forward pass keeps (measured by forward_bench; see
// harness/model/README.md).
constexpr double kForwardShare = 0.7;
// Of throughput, roughly (speed/kernels.cpp): what one core reads, a kernel's shortest sample and
// how long all of one case's may take, up to how many tokens weights are streamed, of which as many
// codes are made at random as fill memory, and the probes of the machine.
constexpr double kReadBytesPerSecond = 1e10, kShortestSample = 0.002, kContenderSeconds = 1.5;
constexpr size_t kReadingTokens = 8;
constexpr double kStreamedCodes = 1.3e8, kMadeCodesPerSecond = 3e8, kProbeSeconds = 4;
// Of records, roughly: what stands in each once, for each layer, window and other cell of the run,
// and of a window for each form of kept logits; and of the journal for each model and window,
// beside a KL a position.
constexpr double kRecordBytes = 5000, kLayerBytes = 420, kWindowBytes = 105, kAgainstBytes = 190;
constexpr double kFormBytes = 25;
constexpr double kFrameBytes = 150;
// Of memory, roughly: the program, its libraries with what they touch of their buffers, texts with
// what they are compared by, and the tokenizer. Limits know it as what is used already.
constexpr double kProgramBytes = 1.1e8;

Matrix<float> UniformMatrix(size_t rows, size_t cols) {
  Matrix<float> matrix(rows, cols);
  Rng rng(1);
  for (size_t i = 0; i < rows * cols; ++i) matrix.data()[i] = static_cast<float>(rng.Uniform());
  return matrix;
}

// Measured once, so that the prices of one dry run compare.
double GflopsNow() {
  static const double rate = MeasureGemmRate(512, 512);
  return rate;
}

size_t MatricesOfBlocks(const ModelConfig& config) {
  size_t count = 0;
  for (size_t layer = 0; layer < config.layers.size(); ++layer)
    count += LayoutOf(config, layer).linears.size();
  return count;
}

// (rows, cols) of a block's matrices.
std::set<std::pair<size_t, size_t>> DistinctShapes(const ModelConfig& config) {
  std::set<std::pair<size_t, size_t>> shapes;
  for (const LinearRow& row : LayoutOf(config, 0).linears) shapes.emplace(row.rows, row.cols);
  return shapes;
}

}  // namespace

double MeasureGemmRate(size_t rows, size_t size) {
  const Matrix<float> a = UniformMatrix(rows, size), b = UniformMatrix(size, size);
  Matrix<float> c(rows, size);
  std::vector<double> rates;
  for (int repetition = 0; repetition < 5; ++repetition) {
    const Clock::time_point start = Clock::now();
    MultiplyTransposed(a.view(), b.view(), c.view());
    const double seconds = Since(start);
    rates.push_back(2e-9 * static_cast<double>(rows * size * size) / seconds);
  }
  std::nth_element(rates.begin(), rates.begin() + 2, rates.end());
  return rates[2];
}

void Cost::Add(const Cost& next) {
  load_seconds += next.load_seconds;
  seconds += next.seconds;
  sensitivity_seconds += next.sensitivity_seconds;
  quantize_seconds += next.quantize_seconds;
  train_seconds += next.train_seconds;
  throughput_seconds += next.throughput_seconds;
  record_bytes += next.record_bytes;
  memory_bytes = std::max(memory_bytes, next.memory_bytes);
  journal_bytes = std::max(journal_bytes, next.journal_bytes);
}

double PlannedBytes(const ModelConfig& config, const std::vector<PlannedLinear>& plan,
                    bool kernels) {
  double bytes = 0;
  for (const PlannedLinear& linear : plan) {
    if (!linear.scheme) continue;
    const auto& [name, rows, cols] = linear.shape;
    const bool tiled = kernels && TiledMatrix::Supports(*linear.scheme, cols);
    bytes += tiled ? static_cast<double>(SyntheticBytes(config, {linear}))
                   : static_cast<double>(PackedStorageBits(rows, cols, *linear.scheme, false)) / 8;
  }
  return bytes;
}

bool ReadAlike(const CellLoad& a, const CellLoad& b) {
  return a.samples > 0 && a.text == b.text && a.samples == b.samples && a.length == b.length &&
         a.method->model_transforms == b.method->model_transforms;
}

namespace {

// Hidden states of the calibration text, as often as cells that part hold them.
double HiddenStates(const ModelConfig& config, std::span<const CellLoad> cells) {
  double most = 0;
  for (const CellLoad& load : cells) {
    const auto alike = static_cast<size_t>(std::count_if(
        cells.begin(), cells.end(), [&](const CellLoad& other) { return ReadAlike(load, other); }));
    const size_t stores = MostStores(alike, load.sequential) * (load.needs.cross ? 2 : 1);
    most = std::max(most,
                    4.0 * static_cast<double>(stores * load.samples * load.length * config.hidden));
  }
  return std::min(most, static_cast<double>(DefaultActivationBudget()));
}

// What is collected of one block's inputs, with a copy for transforms to change, and what is tried
// out on them.
double StatisticsBytes(const ModelConfig& config, const CellLoad& load, size_t threads) {
  if (load.samples == 0) return 0;
  const BlockLayout layout = LayoutOf(config, 0);
  const bool gram = load.needs.gram || load.needs.gram_blocks;
  const bool transforms = !load.method->transforms.empty();
  double channels = 0, squares = 0, widest = 0;
  for (const Tap tap : kAllTaps) {
    const double own = static_cast<double>(layout.Channels(tap));
    double readers = 0;
    for (const LinearIndex reader : layout.Readers(tap))
      readers += own * static_cast<double>(layout.row(reader).rows);
    channels += own;
    squares += own * own;
    widest = std::max(widest, readers);
  }
  const double kept = static_cast<double>(std::max(load.needs.kept, kReportTokens));
  const double batch = static_cast<double>(std::min(kSampleBatch, load.samples) * load.length);
  const double copies = transforms ? 2 : 1, products = gram + load.needs.cross;
  return copies * (4 * kept * channels + 8 * products * squares) + 4 * products * batch * channels +
         (load.needs.gram ? 12 * squares / 2 : 0) + (load.needs.cross ? 28 * squares / 2 : 0) +
         4 * widest * static_cast<double>(transforms ? threads + 1 : 2);
}

// Of so many tokens at work: the hidden state, a module's input and its output; what the linears
// make inside a module; the heads' outputs.
double ForwardBytes(const ModelConfig& config, size_t tokens) {
  const BlockLayout layout = LayoutOf(config, 0);
  size_t per_token = 3 * config.hidden + layout.Channels(Tap::kAttentionOutput);
  for (const LinearRow& row : layout.linears) {
    if (row.tap == Tap::kAttentionInput || row.tap == Tap::kMlpInput) per_token += row.rows;
  }
  return 4.0 * static_cast<double>(per_token * tokens);
}

}  // namespace

double LoadedBytes(const ModelWeights& weights) {
  const Checkpoint& checkpoint = *weights.checkpoint;
  return static_cast<double>(checkpoint.FileBytes() + checkpoint.CopiedBytes() + OwnBytes(weights));
}

double EstimateMemory(const Model& model, size_t windows, size_t longest_window,
                      std::span<const CellLoad> cells, bool compare, size_t threads) {
  const ModelConfig& config = model.config;
  double calibration = 0, weights = 0, rounded = 0;
  for (const CellLoad& load : cells) {
    weights += load.weight_bytes;
    if (load.kv_cache) {  // of one block at a time
      const size_t bytes =
          RoundedKv::Bytes(*load.kv_cache, config.kv_heads, config.head_dim, longest_window);
      rounded = std::max(rounded, static_cast<double>(bytes));
    }
    calibration =
        std::max({calibration, StatisticsBytes(config, load, threads),
                  !load.training ? 0
                                 : TrainingBytes(config, {load.plan.begin(), load.plan.end()},
                                                 *load.training, threads)});
  }
  calibration += HiddenStates(config, cells);
  // Of each thread: a head's keys and values once more, and a tile's scores for them.
  const size_t of_thread = 2 * config.head_dim + kQueryTile;
  size_t widest = 0;
  for (const LinearRow& row : LayoutOf(config, 0).linears) widest = std::max(widest, row.cols);
  const double panel = 4.0 * static_cast<double>(PanelRows(widest) * widest);
  const double logits = static_cast<double>(LogitBytes(config.vocab, 1 + cells.size(), compare));
  const double workers = static_cast<double>(std::min(threads, windows));
  return weights + calibration +
         workers * (ForwardBytes(config, longest_window) + logits + rounded) +
         static_cast<double>(threads) *
             (4.0 * static_cast<double>(of_thread * longest_window) + panel);
}

Cost EstimateCost(const Model& model, std::span<const Window> windows,
                  std::span<const CellLoad> cells, const Metrics& metrics, size_t threads,
                  Rates& rates) {
  const bool compare = metrics.Compare();
  const auto measured = [&](const CellTime& time) {
    const double kept = metrics.kept_logits ? time.KeptLogits(windows) : 0;
    return Cost::Cell{.measure = time.Measure(windows, compare) + kept, .kept_logits = kept};
  };
  const size_t at_work = ThreadsAtWork(threads);
  Cost cost;
  size_t longest = 0;
  double scored = 0, gates = 0;
  for (const Window& window : windows) {
    longest = std::max(longest, window.length);
    scored += static_cast<double>(window.scored());
  }
  cost.cells.push_back(measured(CellTime(model.config, nullptr, at_work, rates)));
  for (const CellLoad& load : cells) {
    const CellTime time(load.shape == nullptr ? model.config : *load.shape, &load, at_work, rates);
    std::vector<const CellLoad*> before;
    for (const CellLoad* other = cells.data(); other != &load; ++other) {
      if (ReadAlike(load, *other)) before.push_back(other);
    }
    Cost::Cell cell = measured(time);
    cell.train = time.Train();
    cell.quantize = time.Quantize(before) + cell.train;
    cost.cells.push_back(cell);
    gates += time.Gate(windows);
  }
  for (const Cost::Cell& cell : cost.cells) {
    cost.seconds += cell.measure;
    cost.quantize_seconds += cell.quantize;
    cost.train_seconds += cell.train;
  }
  cost.seconds += gates / static_cast<double>(std::clamp<size_t>(cells.size(), 1, at_work));
  cost.memory_bytes = kProgramBytes + LoadedBytes(model.weights) +
                      EstimateMemory(model, windows.size(), longest, cells, compare, threads);
  const double models = static_cast<double>(1 + cells.size());
  const double count = static_cast<double>(windows.size());
  const double of_window =
      kWindowBytes + (metrics.kept_logits ? kFormBytes * kKeptLogitsForms.size() : 0);
  cost.record_bytes = models * (kRecordBytes + count * of_window + models * kAgainstBytes +
                                kLayerBytes * static_cast<double>(MatricesOfBlocks(model.config)));
  cost.journal_bytes = models * (count * kFrameBytes + (compare ? 8 * scored : 0));
  return cost;
}

void AddFormats(const std::vector<PlannedLinear>& plan,
                const std::optional<ActivationScheme>& activations,
                std::set<std::string>& formats) {
  for (const PlannedLinear& linear : plan) {
    if (linear.scheme)
      formats.insert(HashedScheme(*linear.scheme) +
                     (activations ? ActivationName(*activations) : ""));
  }
}

namespace {

// Of one shape's kernels on one number of threads, as speed/kernels.cpp takes its samples.
double ShapeSeconds(double weights, const ThroughputSpec& spec, size_t formats, size_t threads) {
  const double rate = GflopsNow() * 1e9 * static_cast<double>(ThreadsAtWork(threads));
  const double read = 2 * weights / kReadBytesPerSecond;
  double seconds = static_cast<double>(formats) * kStreamedCodes / kMadeCodesPerSecond;
  for (const size_t tokens : spec.tokens) {
    const double product = std::max(2 * weights * static_cast<double>(tokens) / rate, read);
    const double sample = std::max(product, kShortestSample);
    const double affordable = std::max(3.0, kContenderSeconds / sample);
    const double samples = std::min(static_cast<double>(spec.repetitions), affordable);
    const bool few = tokens <= kReadingTokens;  // from the cache, and from memory
    const double contenders =
        static_cast<double>(formats + 1) * (few ? 2 : 1) + (threads == 1 ? 1 : 0);
    seconds += contenders * (2 * product + samples * (sample + (few ? product : 0)));
  }
  return seconds;
}

// Prefill and decode of one model, once.
double ModelSeconds(const ModelConfig& config, const ThroughputSpec& spec) {
  double seconds = 0;
  if (spec.prefill > 0)
    seconds += config.ForwardFlops(spec.prefill, 1) / (GflopsNow() * 1e9 * kForwardShare);
  // A decoded token reads every weight once.
  return seconds + static_cast<double>(spec.decode * 2 * config.Parameters()) / kReadBytesPerSecond;
}

}  // namespace

size_t DecoderBytes(const ModelConfig& config, const ThroughputSpec& spec,
                    const std::optional<KvScheme>& kv_cache) {
  const size_t cached = CachedTokens(spec, config.context);
  if (cached == 0) return 0;
  const double forward = ForwardBytes(config, std::min(spec.prefill, config.context));
  return KvCache::Bytes(config, cached, kv_cache) + 4 * config.vocab + static_cast<size_t>(forward);
}

Cost EstimateSpeedCost(const ModelConfig& config, const ThroughputSpec& spec, size_t models,
                       size_t formats, size_t dense) {
  Cost cost;
  if (!spec.measure) return cost;
  std::vector<double> shapes;  // weights
  if (spec.kernels) {
    for (const auto& [rows, cols] : DistinctShapes(config))
      shapes.push_back(static_cast<double>(rows * cols));
    if (spec.standard_shapes)
      for (const double rows : {4096, 11008, 11008, 14336}) shapes.push_back(4096 * rows);
  }
  cost.memory_bytes = static_cast<double>(LimitBuffers::Bytes());
  if (!shapes.empty())
    cost.memory_bytes += KernelBytes(spec, *std::ranges::max_element(shapes), formats, dense);
  for (const size_t threads : spec.threads) {
    cost.throughput_seconds += kProbeSeconds;
    cost.throughput_seconds += static_cast<double>(models * (spec.repetitions + 1)) *
                               ModelSeconds(config, spec) /
                               static_cast<double>(ThreadsAtWork(threads));
    for (const double weights : shapes)
      cost.throughput_seconds += ShapeSeconds(weights, spec, formats + dense, threads);
  }
  return cost;
}

}  // namespace quantref
