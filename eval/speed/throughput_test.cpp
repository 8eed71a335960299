#include "eval/speed/throughput.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "eval/accuracy/transformer_subject.h"
#include "eval/speed/contestants.h"
#include "eval/speed/interleave.h"
#include "eval/testing/counter.h"
#include "harness/io/checkpoint.h"
#include "harness/kernels/isa.h"
#include "harness/quant/grid.h"
#include "harness/testing/testing.h"
#include "harness/testing/tiny_model.h"

namespace quantref {
namespace {

constexpr WeightScheme kInt4{.bits = 4, .group = 16};
constexpr ActivationFormat kInt8Inputs{8, true, {}};

// A tiny model, and copies of it on the integer kernels.
class Cells {
 public:
  explicit Cells(size_t context = 512, const std::string& dtype = "F16") {
    shape_.dtype = dtype;
    shape_.context = context;
    testing::WriteTinyModel(dir_.path(), shape_);
    config_ = ReadConfig(dir_ / "config.json");
    weights_ = LoadWeights(config_, Checkpoint::Open(dir_.path()), WeightType::kNative, 1);
    Add("fp16", weights_);
  }
  // The same numbers in another type.
  void AddStored(const std::string& dtype) {
    testing::TinyModel other = shape_;
    other.dtype = dtype;
    testing::WriteTinyModel(dir_ / dtype, other);
    Add(dtype, LoadWeights(config_, Checkpoint::Open(dir_ / dtype), WeightType::kNative, 1));
  }
  void AddQuantized(const std::string& label, std::optional<ActivationFormat> activations,
                    bool keep_down = false) {
    ModelWeights weights = weights_;
    for (BlockWeights& block : weights.blocks) {
      for (Linear& linear : block.linears) {
        if (keep_down && &linear == &block.linears[kDown]) continue;
        linear.weight = Weight(std::make_shared<const PackedMatrix>(
                                   RoundToNearest(linear.weight.Decode().view(), kInt4)))
                            .WithKernels();
        linear.activations = activations;
      }
    }
    Add(label, weights);
  }
  Throughput Measure(const ThroughputSpec& spec, const Steps::Report& progress = {}) const {
    std::vector<ThroughputModel> models;
    std::vector<TransformerSubject> subjects;
    for (size_t i = 0; i < transformers_.size(); ++i)
      subjects.emplace_back(*transformers_[i], labels_[i]);
    for (size_t i = 0; i < transformers_.size(); ++i)
      models.push_back({&subjects[i], &transformers_[i]->weights()});
    return MeasureThroughput(models, spec, progress);
  }

 private:
  void Add(const std::string& label, const ModelWeights& weights) {
    labels_.push_back(label);
    transformers_.push_back(std::make_unique<Transformer>(config_, weights, 8));
  }

  testing::TempDir dir_;
  testing::TinyModel shape_;
  ModelConfig config_;
  ModelWeights weights_;
  std::vector<std::string> labels_;
  std::vector<std::unique_ptr<Transformer>> transformers_;
};

ThroughputSpec SmallSpec() {
  ThroughputSpec spec;
  spec.standard_shapes = false;
  spec.tokens = {1, 5};
  spec.prefill = 6;
  spec.decode = 3;
  spec.repetitions = 3;
  return spec;
}

bool AllPositive(const Samples& samples) {
  return std::all_of(samples.seconds.begin(), samples.seconds.end(),
                     [](double seconds) { return seconds > 0; });
}

TEST_CASE("throughput: medians and quartiles", "[throughput]") {
  const Samples odd{{5, 1, 3, 2, 4}};
  CHECK(odd.Median() == 3);
  CHECK(odd.Low() == 2);
  CHECK(odd.High() == 4);
  const Samples even{{4, 1, 2, 3}};
  CHECK(even.Median() == 2.5);
  CHECK(even.Low() == 1.75);
  CHECK(even.High() == 3.25);
  const Samples one{{7}};
  CHECK((one.Median() == 7 && one.Low() == 7 && one.High() == 7));
}

TEST_CASE("throughput: contenders take turns in changing orders", "[throughput]") {
  Rng rng(1);
  std::vector<int> calls;
  std::vector<Contender> contenders = {{[&] { calls.push_back(0); }, 1, 20},
                                       {[&] { calls.push_back(1); }, 2, 20},
                                       {[&] { calls.push_back(2); }, 1, 1},
                                       {[&] { calls.push_back(3); }, 1, 0}};
  size_t looks = 0;
  const std::vector<Samples> samples = Interleave(contenders, 20, rng, [&] { ++looks; });
  REQUIRE(samples.size() == 4);
  CHECK(samples[0].seconds.size() == 20);
  CHECK(samples[1].seconds.size() == 20);
  CHECK(samples[1].repeats == 2);
  CHECK(samples[2].seconds.size() == 1);
  CHECK(samples[3].seconds.empty());
  CHECK(looks == 41);
  REQUIRE(calls.size() == 61);
  std::erase(calls, 2);
  size_t first = 0;
  for (size_t round = 0; round < 20; ++round) {  // 0 1 1 or 1 1 0
    const bool zero = calls[3 * round] == 0;
    first += zero;
    CHECK(std::vector(calls.begin() + 3 * round, calls.begin() + 3 * round + 3) ==
          (zero ? std::vector{0, 1, 1} : std::vector{1, 1, 0}));
  }
  CHECK(first > 3);
  CHECK(first < 17);
}

TEST_CASE("throughput: a wrong product is found, whatever the weights", "[throughput]") {
  Rng rng(2);
  constexpr size_t kRows = 40, kCols = 48;
  for (const KernelFormat& format :
       {KernelFormat{{.scheme = kInt4}}, KernelFormat{{.scheme = {.bits = 4, .group = 20}}},
        KernelFormat{{.scheme = kInt4}, kInt8Inputs}, DenseFormat(DenseRows::Type::kFp16),
        DenseFormat(DenseRows::Type::kBf16), DenseFormat(DenseRows::Type::kFp32)}) {
    Contestant contestant(format, nullptr, kRows, kCols, 3, rng);
    CHECK(contestant.copies() == 3);
    for (const size_t tokens : {1, 20, 128}) {
      CHECK(contestant.Multiplies(tokens).has_value() != format.key.dense.has_value());
      Matrix<float> x(tokens, kCols), y(tokens, kRows);
      for (size_t i = 0; i < tokens * kCols; ++i) x.data()[i] = static_cast<float>(rng.Normal());
      LinearScratch scratch;
      contestant.Run(x.view(), y.view(), scratch);
      CHECK(contestant.IsRight(x.view(), y.view(), rng));
      y(tokens - 1, kRows - 1) += 0.01f;
      CHECK_FALSE(contestant.IsRight(x.view(), y.view(), rng));
      contestant.Run(x.view(), y.view(), scratch);
      x(0, 0) += 100;
      CHECK_FALSE(contestant.IsRight(x.view(), y.view(), rng));
    }
  }
}

TEST_CASE("throughput: it is said which way codes are multiplied", "[throughput]") {
  Rng rng(2);
  const Contestant weights({{.scheme = kInt4}}, nullptr, 40, 48, 1, rng);
  const Contestant both({{.scheme = kInt4}, kInt8Inputs}, nullptr, 40, 48, 1, rng);
  CHECK(weights.Multiplies(1) == true);
  CHECK(weights.Multiplies(512) == (ActiveIsa() != Isa::kAvx2));
  CHECK(both.Multiplies(512) == true);
}

TEST_CASE("throughput: every cell has the samples asked for, shared where formats are",
          "[throughput]") {
  Cells cells;
  cells.AddQuantized("rtn", {});
  cells.AddQuantized("gptq", {});
  cells.AddQuantized("rtn a8", kInt8Inputs, true);
  size_t last = 0, all = 0;
  ThroughputSpec spec = SmallSpec();
  spec.threads = {1, 2};
  const Throughput result =
      cells.Measure(spec, [&](size_t done, size_t total, std::string_view what) {
        CHECK(done >= last);
        CHECK(!what.empty());
        last = done;
        all = total;
      });
  CHECK(last == all);
  REQUIRE(result.cells.size() == 4);
  for (const CellThroughput& cell : result.cells) {
    REQUIRE(cell.prefill.size() == 2);
    REQUIRE(cell.decode.size() == 2);
    for (size_t i = 0; i < 2; ++i) {
      CHECK((cell.prefill[i].tokens == 6 && cell.prefill[i].threads == i + 1));
      CHECK((cell.decode[i].tokens == 3 && cell.decode[i].threads == i + 1));
      CHECK(cell.prefill[i].samples.seconds.size() == 3);
      CHECK(cell.decode[i].samples.seconds.size() == 3);
      CHECK(AllPositive(cell.prefill[i].samples));
      CHECK(AllPositive(cell.decode[i].samples));
    }
    // Shapes 32x32 (q, o), 16x32 (k, v), 48x32 (gate, up), 32x48 (down); 1 and 5 tokens; threads.
    CHECK(cell.kernels.size() == 4 * 2 * 2);
    for (const KernelTiming& timing : cell.kernels) {
      CHECK(timing.samples.seconds.size() == 3);
      CHECK(AllPositive(timing.samples));
      CHECK(timing.samples.repeats >= 1);
      CHECK(timing.openblas.seconds.size() == (timing.threads == 1 ? 3u : 0u));
      CHECK(timing.fp16.seconds.size() == (OpName(timing.key) == "fp16" ? 0u : 3u));
      CHECK(timing.codes.has_value() == (OpName(timing.key) != "fp16"));
      CHECK_FALSE(timing.streamed);  // 4096 copies are less than any cache that is worth it
      CHECK(timing.bytes >= timing.rows * timing.cols / 2);
    }
  }
  const auto ops = [&](size_t cell) {
    std::vector<std::string> names;
    for (const KernelTiming& timing : result.cells[cell].kernels) {
      if (timing.threads == 1 && timing.tokens == 5) names.push_back(OpName(timing.key));
    }
    std::sort(names.begin(), names.end());
    return names;
  };
  const std::string quantized = "w4a16 g16 asym", rounded = "w4a8 g16 asym";
  CHECK(ops(0) == std::vector<std::string>(4, "fp16"));
  CHECK(ops(1) == std::vector<std::string>(4, quantized));
  CHECK(ops(3) == std::vector<std::string>{"fp16", rounded, rounded, rounded});
  for (size_t i = 0; i < result.cells[1].kernels.size(); ++i) {
    CHECK(result.cells[1].kernels[i].samples.seconds == result.cells[2].kernels[i].samples.seconds);
  }
  REQUIRE(result.rooflines.size() == 2);
  for (const Roofline& limits : result.rooflines) {
    CHECK(limits.read_gbps_memory > 0);
    CHECK(limits.read_gbps_cache > 0);
    CHECK(limits.fp32_gflops > 0);
    CHECK(limits.int8_gops > 0);
  }
  CHECK(result.rooflines[1].threads == 2);
  for (const double cores : {result.cores.before, result.cores.after}) {
    CHECK(cores > 0);
    CHECK(std::isfinite(cores));
  }
}

TEST_CASE("throughput: kernels without codes are those of the weights' own type", "[throughput]") {
  ThroughputSpec spec = SmallSpec();
  spec.prefill = spec.decode = 0;
  spec.repetitions = 1;
  Cells cells(512, "F32");
  cells.AddStored("BF16");
  const Throughput result = cells.Measure(spec);
  for (const bool narrow : {false, true}) {
    const std::vector<KernelTiming>& kernels = result.cells[narrow ? 1 : 0].kernels;
    REQUIRE(kernels.size() == 4 * 2);
    for (const KernelTiming& timing : kernels) {
      CHECK(OpName(timing.key) == (narrow ? "bf16" : "fp32"));
      CHECK(timing.bytes == timing.rows * timing.cols * (narrow ? 2 : 4));
      CHECK(timing.fp16.seconds.size() == 1);
    }
  }
}

TEST_CASE("throughput: texts are cut to the context", "[throughput]") {
  Cells cells(16);
  ThroughputSpec spec = SmallSpec();
  spec.kernels = false;
  spec.repetitions = 1;
  spec.prefill = 14;
  spec.decode = 5;
  Throughput result = cells.Measure(spec);
  CHECK(result.cells[0].kernels.empty());
  CHECK(result.cells[0].prefill.at(0).tokens == 14);
  CHECK(result.cells[0].decode.at(0).tokens == 5);
  spec.prefill = 100;
  spec.decode = 100;
  result = cells.Measure(spec);
  CHECK(result.cells[0].prefill.at(0).tokens == 16);
  CHECK(result.cells[0].decode.at(0).tokens == 16);
}

TEST_CASE("throughput: what is no transformer is timed without kernels", "[throughput]") {
  const testing::Counter counter(5, 8);
  const ThroughputModel models[] = {{&counter, nullptr}};
  ThroughputSpec spec = SmallSpec();
  spec.standard_shapes = true;
  spec.repetitions = 2;
  size_t all = 0;
  const Throughput result =
      MeasureThroughput(models, spec, [&](size_t, size_t total, std::string_view) { all = total; });
  REQUIRE(result.cells.size() == 1);
  const CellThroughput& cell = result.cells[0];
  CHECK(all == 2 * spec.repetitions);
  CHECK(cell.kernels.empty());
  CHECK(cell.decoded_each_call.empty());
  CHECK(cell.prefill.at(0).tokens == 6);
  CHECK(cell.prefill.at(0).samples.seconds.size() == 2);
  CHECK(cell.decode.at(0).tokens == 3);
  CHECK(cell.decode.at(0).samples.seconds.size() == 2);
  // To warm up and for each sample: a prefill from nothing, and tokens as far as the context goes.
  using Extended = std::pair<size_t, size_t>;
  const auto& extended = counter.extended();
  for (const Extended& one : {Extended{0, 6}, {5, 1}, {6, 1}, {7, 1}})
    CHECK(std::count(extended.begin(), extended.end(), one) == 3);
  CHECK(extended.size() == 3 * 4);
}

TEST_CASE("throughput: what is not asked for is not measured", "[throughput]") {
  const Cells cells;
  ThroughputSpec spec = SmallSpec();
  spec.measure = false;
  Throughput result = cells.Measure(spec, [](size_t, size_t, std::string_view) { FAIL(); });
  CHECK(result.cells.empty());
  CHECK(result.rooflines.empty());
  spec.measure = true;
  spec.kernels = false;
  spec.prefill = 0;
  result = cells.Measure(spec);
  REQUIRE(result.cells.size() == 1);
  CHECK(result.cells[0].kernels.empty());
  CHECK(result.cells[0].prefill.empty());
  CHECK(result.cells[0].decode.at(0).samples.seconds.size() == 3);
  spec.decode = 0;
  result = cells.Measure(spec);
  CHECK(result.cells[0].decode.empty());
}

TEST_CASE("throughput: progress may stop it at any time", "[throughput]") {
  const Cells cells;
  for (const size_t at : {0, 1, 7, 20}) {
    CHECK_THROWS_AS(cells.Measure(SmallSpec(),
                                  [&](size_t done, size_t, std::string_view) {
                                    if (done >= at) throw std::runtime_error("stop");
                                  }),
                    std::runtime_error);
  }
}

}  // namespace
}  // namespace quantref
