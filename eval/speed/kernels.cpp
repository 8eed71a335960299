#include "eval/speed/kernels.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "eval/speed/contestants.h"
#include "harness/base/check.h"
#include "harness/kernels/check_products.h"
#include "harness/kernels/gemm.h"
#include "harness/kernels/probes.h"

namespace quantref {
namespace {

constexpr std::array<std::array<size_t, 2>, 4> kStandardShapes = {
    {{4096, 4096}, {11008, 4096}, {4096, 11008}, {14336, 4096}}};
constexpr size_t kReadingTokens = 8;  // beyond, the reading of weights is not what takes the time
constexpr size_t kMostStreamedBytes = size_t{256} << 20;
constexpr size_t kMostCopies = 4096;       // matrices that need more to fill that are not streamed
constexpr double kSampleSeconds = 0.002;   // at least
constexpr double kLongest = 3;             // a product that takes more is left out
constexpr double kContenderSeconds = 1.5;  // all samples of one case, about
constexpr size_t kLeastSamples = 3;        // or as many as asked

// Bytes of copies that make sure that each comes from memory; 0 where the cache is too large.
size_t StreamedBytes() {
  const size_t bytes = std::min(kMostStreamedBytes, 2 * LargestCacheBytes());
  return 4 * bytes >= 5 * LargestCacheBytes() ? bytes : 0;
}

Matrix<float> RandomInputs(size_t tokens, size_t cols, Rng& rng) {
  Matrix<float> x(tokens, cols);
  for (size_t i = 0; i < tokens * cols; ++i)
    x.data()[i] = static_cast<float>(2 * rng.Uniform() - 1);
  return x;
}

// Channels that exceed what kernels of this shape take for an outlier: a little less than one in a
// hundred, each in some of the tokens.
void PlantOutliers(double threshold, Matrix<float>& x) {
  constexpr size_t kEvery = 128, kTokens = 4;
  for (size_t c = 0; c < x.cols(); c += kEvery) {
    for (size_t t = c / kEvery % kTokens; t < x.rows(); t += kTokens)
      x(t, c) = static_cast<float>(2 * threshold);
    x(0, c) = static_cast<float>(2 * threshold);  // of a single token, too
  }
}

}  // namespace

double KernelBytes(const ThroughputSpec& spec, double weights, size_t formats, size_t dense) {
  constexpr double kCode = 0.5, kByte = 1, kFp16 = 2, kFp32 = 4;  // of 4 bits: what most are
  const auto rest = static_cast<double>(formats), numbers = static_cast<double>(dense);
  const auto streamed = static_cast<double>(StreamedBytes());
  const bool reads = std::ranges::any_of(
      spec.tokens, [](const size_t tokens) { return tokens <= kReadingTokens; });
  const bool fills = kCode * weights * static_cast<double>(kMostCopies) >= streamed;
  // In the cache, decoded to verify them, and from memory.
  return weights * (kFp32 * (1 + numbers) + kFp16 + kByte * rest) +
         (reads && fills ? streamed * (1 + numbers + rest) : 0);
}

// A shape to measure: its formats but FP16, which always takes part, with a weight of the model's
// where there is one; and which cells want which results.
struct KernelBench::Shape {
  struct Entry {
    KernelFormat format;
    const Weight* weight = nullptr;
  };
  struct Wanted {
    size_t cell;
    KernelKey key;
    bool operator==(const Wanted&) const = default;
  };

  void Add(const Entry& entry) {
    const bool known = std::any_of(formats.begin(), formats.end(), [&](const Entry& other) {
      return other.format.key == entry.format.key;
    });
    if (!known) formats.push_back(entry);
  }
  void Want(const Wanted& one) {
    if (std::find(wanted.begin(), wanted.end(), one) == wanted.end()) wanted.push_back(one);
  }

  size_t rows, cols;
  std::vector<Entry> formats;  // each key once
  std::vector<Wanted> wanted;
};

struct KernelBench::Case {
  size_t tokens, threads, team;
  bool streamed;
};

struct KernelBench::Product {
  std::function<void()> run;
  std::function<bool()> is_right;  // what the last run made
};

// The contestants of one shape.
struct KernelBench::Field {
  std::vector<Contestant> warm, streamed;  // the last is FP16; streamed may be empty
  Matrix<float> decoded;                   // FP16's numbers, for OpenBLAS
  Matrix<float> inputs;                    // as many rows as the most tokens
  // What the case before took, by contender and number of threads.
  std::map<std::pair<size_t, size_t>, double> seconds_a_token;
};

KernelBench::KernelBench(std::span<const ThroughputModel> models, const ThroughputSpec& spec)
    : spec_(spec) {
  if (!spec.kernels) return;
  for (size_t cell = 0; cell < models.size(); ++cell) {
    if (models[cell].weights == nullptr) continue;
    const ModelWeights& weights = *models[cell].weights;
    for (const BlockWeights& block : weights.blocks) {
      for (const Linear& linear : block.linears) AddLinear(cell, linear);
    }
    if (weights.head.weight.quantized()) AddLinear(cell, weights.head);
  }
  if (spec.standard_shapes && !shapes_.empty()) AddStandardShapes();  // of the models' formats
}

KernelBench::~KernelBench() = default;

KernelBench::Shape& KernelBench::ShapeOf(size_t rows, size_t cols) {
  for (Shape& shape : shapes_) {
    if (shape.rows == rows && shape.cols == cols) return shape;
  }
  return shapes_.emplace_back(Shape{rows, cols, {}, {}});
}

void KernelBench::AddLinear(size_t cell, const Linear& linear) {
  const std::optional<KernelFormat> format = FormatOf(linear);
  if (!format) return;
  Shape& shape = ShapeOf(linear.weight.rows(), linear.weight.cols());
  shape.Want({cell, format->key});
  if (format->key.dense != DenseRows::Type::kFp16) shape.Add({*format, &linear.weight});
}

void KernelBench::AddStandardShapes() {
  Shape all{0, 0, {}, {}};
  for (const Shape& shape : shapes_) {
    for (const Shape::Entry& entry : shape.formats) all.Add({entry.format, nullptr});
    for (const Shape::Wanted& one : shape.wanted) all.Want(one);
  }
  for (const auto& [rows, cols] : kStandardShapes) {
    Shape& shape = ShapeOf(rows, cols);
    for (const Shape::Entry& entry : all.formats) shape.Add(entry);
    for (const Shape::Wanted& one : all.wanted) shape.Want(one);
  }
}

// Few tokens first: they tell how long more will take.
std::vector<KernelBench::Case> KernelBench::CasesOf() const {
  std::vector<size_t> tokens = spec_.tokens;
  std::sort(tokens.begin(), tokens.end());
  std::vector<Case> cases;
  for (size_t team = 0; team < spec_.threads.size(); ++team) {
    for (const size_t count : tokens) {
      cases.push_back({count, spec_.threads[team], team, false});
      if (count <= kReadingTokens && StreamedBytes() > 0)
        cases.push_back({count, spec_.threads[team], team, true});
    }
  }
  return cases;
}

size_t KernelBench::steps() const { return shapes_.size() * CasesOf().size() * spec_.repetitions; }

void KernelBench::Measure(std::span<const std::unique_ptr<Team>> teams, Steps& steps,
                          std::span<CellThroughput> cells, const std::function<void()>& between) {
  for (const Shape& shape : shapes_) {
    between();
    MeasureShape(shape, teams, steps, cells);
  }
}

// Nothing where the matrices are too small.
void KernelBench::AddStreamed(Field& field) {
  for (const Contestant& one : field.warm) {
    if (one.bytes() * kMostCopies < StreamedBytes()) return;
  }
  for (const Contestant& one : field.warm) {
    const Weight& weight = one.weight();
    field.streamed.emplace_back(one.format(), &weight, weight.rows(), weight.cols(),
                                StreamedBytes() / one.bytes() + 1, rng_);
  }
}

void KernelBench::MeasureShape(const Shape& shape, std::span<const std::unique_ptr<Team>> teams,
                               Steps& steps, std::span<CellThroughput> cells) {
  const std::vector<Case> cases = CasesOf();
  if (cases.empty()) return;
  const auto what = [&](const Case& one) {
    return fmt::format("{} x {}, {} tokens", shape.rows, shape.cols, one.tokens);
  };
  steps.Look(what(cases.front()));
  Field field;
  for (const Shape::Entry& entry : shape.formats)
    field.warm.emplace_back(entry.format, entry.weight, shape.rows, shape.cols, 1, rng_);
  field.warm.emplace_back(DenseFormat(DenseRows::Type::kFp16), nullptr, shape.rows, shape.cols, 1,
                          rng_);
  if (std::any_of(cases.begin(), cases.end(), [](const Case& one) { return one.streamed; }))
    AddStreamed(field);
  field.decoded = field.warm.back().weight().Decode();
  field.inputs =
      RandomInputs(*std::max_element(spec_.tokens.begin(), spec_.tokens.end()), shape.cols, rng_);
  double threshold = 0;
  for (const Shape::Entry& entry : shape.formats) {
    if (const auto& rounded = entry.format.activations; rounded && rounded->outliers)
      threshold = std::max(threshold, rounded->outliers->threshold);
  }
  if (threshold > 0) PlantOutliers(threshold, field.inputs);
  for (const Case& one : cases) {
    const std::string name = what(one);
    for (KernelTiming& timing :
         MeasureCase(one, field, teams[one.team].get(), [&] { steps.Look(name); })) {
      for (const auto& [cell, key] : shape.wanted) {
        if (key == timing.key) cells[cell].kernels.push_back(timing);
      }
    }
    steps.Done(spec_.repetitions, name);
  }
}

// Verified, and where that was not a long call, called once more to see how long it takes. Where
// reading the weights is most of it, samples that are not streamed begin with the weights in the
// cache, as far as it holds them: other contestants' went through it since the last.
Contender KernelBench::Prepare(const Product& product, const Case& one, MatrixView<float> y,
                               double& seconds_a_token) const {
  Contender contender{product.run, 1, 0, !one.streamed && one.tokens <= kReadingTokens};
  if (seconds_a_token * static_cast<double>(one.tokens) > kLongest) return contender;
  std::fill_n(y.data(), y.rows() * y.cols(), std::nanf(""));
  double seconds = SecondsOf(product.run);
  QR_CHECK(product.is_right());
  if (seconds < 20 * kSampleSeconds) seconds = SecondsOf(product.run);
  seconds_a_token = seconds / static_cast<double>(one.tokens);
  contender.repeats = static_cast<size_t>(std::ceil(kSampleSeconds / seconds));
  const auto affordable =
      static_cast<size_t>(kContenderSeconds / std::max(seconds, kSampleSeconds));
  contender.samples = std::min(spec_.repetitions, std::max(kLeastSamples, affordable));
  return contender;
}

std::vector<KernelTiming> KernelBench::MeasureCase(const Case& one, Field& field, Team* team,
                                                   const std::function<void()>& before_sample) {
  std::vector<Contestant>& contestants = one.streamed ? field.streamed : field.warm;
  if (contestants.empty()) return {};
  const MatrixView<const float> x = std::as_const(field.inputs).view().Rows(0, one.tokens);
  Matrix<float> y(one.tokens, field.decoded.rows());
  LinearScratch scratch;
  scratch.team = team;
  std::vector<Contender> contenders;
  const auto add = [&](const Product& product) {
    before_sample();
    contenders.push_back(
        Prepare(product, one, y.view(), field.seconds_a_token[{contenders.size(), one.threads}]));
  };
  for (Contestant& contestant : contestants) {
    add({[&] { contestant.Run(x, y.view(), scratch); },
         [&] { return contestant.IsRight(x, std::as_const(y).view(), rng_); }});
  }
  const bool blas = !one.streamed && one.threads == 1;
  if (blas) {
    const std::optional<DenseRows> dense = contestants.back().weight().dense();
    add({[&] { BlasMultiplyTransposed(x, std::as_const(field.decoded).view(), y.view()); },
         [&] {
           return SampledError(x, *dense, std::as_const(y).view(), rng_) <=
                  ErrorBound(field.decoded.cols());
         }});
  }
  const std::vector<Samples> samples =
      Interleave(contenders, spec_.repetitions, rng_, before_sample);
  const Samples& half = samples[contestants.size() - 1];
  std::vector<KernelTiming> timings;
  for (size_t i = 0; i < contestants.size(); ++i) {
    if (samples[i].seconds.empty()) continue;
    const Contestant& contestant = contestants[i];
    const bool is_half = i + 1 == contestants.size();
    timings.push_back({contestant.format().key, field.decoded.rows(), field.decoded.cols(),
                       one.tokens, one.threads, one.streamed, contestant.bytes(), samples[i],
                       is_half ? Samples{} : half, blas ? samples.back() : Samples{},
                       contestant.Multiplies(one.tokens)});
  }
  return timings;
}

}  // namespace quantref
