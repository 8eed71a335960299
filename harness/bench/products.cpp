#include "harness/bench/products.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <tuple>

#include "harness/base/check.h"
#include "harness/base/huge_memory.h"
#include "harness/bench/bench.h"
#include "harness/bench/eigen_product.h"
#include "harness/kernels/check_products.h"
#include "harness/kernels/gemm.h"
#include "harness/kernels/probes.h"
#include "harness/kernels/qgemm.h"
#include "harness/kernels/thin_gemm.h"
#include "harness/quant/format.h"
#ifdef QUANTREF_ONEDNN
#include "harness/bench/onednn_product.h"
#endif

namespace quantref::bench {
namespace {

struct Format {
  WeightScheme scheme;
  std::optional<ActivationFormat> activations;
};

const std::map<std::string, Format>& Formats() {
  constexpr auto kRow = Granularity::kRow;
  const auto table = [](const char* name) { return SchemeOf(*FindFormat(name)); };
  static const std::map<std::string, Format> formats = {
      {"w4a16_g128", {{.bits = 4, .group = 128}, {}}},
      {"w4a16_g64", {{.bits = 4, .group = 64}, {}}},
      {"w4a16_g32", {{.bits = 4, .group = 32}, {}}},
      {"nf4a16_g64", {table("nf4"), {}}},
      {"fp4a16_g64", {table("fp4"), {}}},
      {"mxfp4a16", {table("mxfp4"), {}}},
      {"mxfp4a8", {table("mxfp4"), ActivationFormat{}}},
      {"nvfp4a16", {table("nvfp4"), {}}},
      {"w4a8_g128", {{.bits = 4, .group = 128}, ActivationFormat{}}},
      {"w4a8_g32", {{.bits = 4, .group = 32}, ActivationFormat{}}},
      {"w4a16_row", {{.bits = 4, .granularity = kRow}, {}}},
      {"w8a8_g128", {{.bits = 8, .group = 128}, ActivationFormat{}}},
      {"w8a8_row", {{.bits = 8, .granularity = kRow, .symmetric = true}, ActivationFormat{}}},
      {"w8a16_g128", {{.bits = 8, .group = 128}, {}}},
      {"w3a16_g128", {{.bits = 3, .group = 128}, {}}},
      {"w2a16_g64", {{.bits = 2, .group = 64}, {}}}};
  return formats;
}

using Shape = std::pair<size_t, size_t>;

size_t Copies(size_t bytes, bool streamed) {
  return streamed ? 2 * LargestCacheBytes() / bytes + 1 : 1;
}

const Matrix<float>& Inputs(size_t tokens, size_t cols) {
  static std::map<Shape, Matrix<float>> kept;
  const auto [at, is_new] = kept.try_emplace({tokens, cols});
  if (is_new) at->second = RandomMatrix(tokens, cols, 1);
  return at->second;
}

// Outputs that a product must write to be right.
Matrix<float> Unwritten(size_t tokens, size_t rows) {
  Matrix<float> y(tokens, rows);
  std::fill_n(y.data(), tokens * rows, std::nanf(""));
  return y;
}

const std::vector<TiledMatrix>& TiledCopies(const std::string& format, Shape shape, bool streamed) {
  static std::map<std::pair<std::string, Shape>, std::vector<TiledMatrix>> kept;
  std::vector<TiledMatrix>& copies = kept[{format, shape}];
  Rng rng(copies.size() + 2);
  do {
    if (copies.empty() || copies.size() < Copies(copies.front().bytes(), streamed)) {
      copies.push_back(
          TiledMatrix::Random(shape.first, shape.second, Formats().at(format).scheme, rng));
    }
  } while (copies.size() < Copies(copies.front().bytes(), streamed));
  return copies;
}

// The same numbers in every copy: what counts is that they lie elsewhere.
const std::vector<std::shared_ptr<uint8_t>>& HalfCopies(Shape shape, bool streamed) {
  static std::map<Shape, std::vector<std::shared_ptr<uint8_t>>> kept;
  std::vector<std::shared_ptr<uint8_t>>& copies = kept[shape];
  const size_t bytes = shape.first * shape.second * sizeof(uint16_t);
  while (copies.size() < Copies(bytes, streamed)) {
    copies.push_back(AllocateHuge(bytes));
    if (copies.size() > 1) {
      std::memcpy(copies.back().get(), copies.front().get(), bytes);
      continue;
    }
    Rng rng(3);
    constexpr uint64_t kSignsAndMantissas = 0x83ff83ff83ff83ff, kNearOne = 0x2800280028002800;
    for (size_t at = 0; at < bytes; at += 8) {  // of magnitudes 2^-5 to 2^-4
      const uint64_t four = (rng.Next() & kSignsAndMantissas) | kNearOne;
      std::memcpy(copies.front().get() + at, &four, 8);
    }
  }
  return copies;
}

const Matrix<float>& Decoded(Shape shape) {
  static std::map<Shape, Matrix<float>> kept;
  const auto [at, is_new] = kept.try_emplace(shape);
  if (is_new) {
    at->second = Matrix<float>(shape.first, shape.second);
    const auto* halves = reinterpret_cast<const uint16_t*>(HalfCopies(shape, false).front().get());
    Ops().half_to_float(halves, at->second.data(), shape.first * shape.second);
  }
  return at->second;
}

// Tiles of rows handed out to the team.
template <typename F>
void ForTiles(Team* team, size_t rows, const F& body) {
  const size_t tiles = (rows + kQgemmTile - 1) / kQgemmTile;
  const size_t parts = std::min(tiles, TeamThreads(team) == 1 ? 1 : 8 * TeamThreads(team));
  RunOn(team, parts, [&](size_t part, size_t worker) {
    const size_t first = part * tiles / parts * kQgemmTile;
    const size_t end = std::min(rows, (part + 1) * tiles / parts * kQgemmTile);
    if (end > first) body(first, end - first, worker);
  });
}

class Quantized : public Product {
 public:
  Quantized(const ProductSpec& spec, Team* team)
      : spec_(spec),
        team_(team),
        format_(Formats().at(spec.format)),
        copies_(TiledCopies(spec.format, {spec.rows, spec.cols}, spec.streamed)),
        used_(spec.streamed ? copies_.size() : 1),
        x_(Inputs(spec.tokens, spec.cols)),
        y_(Unwritten(spec.tokens, spec.rows)),
        scratch_(spec.threads) {
    Pack();
  }
  void Run() override {
    last_ = (last_ + 1) % used_;
    if (!spec_.packed) Pack();
    ForTiles(team_, spec_.rows, [&](size_t first, size_t count, size_t worker) {
      MultiplyQuantized(inputs_, copies_[last_], first, count, y_.view(), scratch_[worker],
                        spec_.isa);
    });
  }
  bool IsRight(Rng& rng) const override {
    return EqualsReference(x_.view(), format_.activations, copies_[last_], y_.view(), rng);
  }
  size_t weight_bytes() const override { return copies_.front().bytes(); }

 private:
  void Pack() { inputs_.Pack(x_.view(), format_.activations, copies_.front(), spec_.isa, team_); }

  ProductSpec spec_;
  Team* team_;
  const Format& format_;
  const std::vector<TiledMatrix>& copies_;
  size_t used_, last_ = 0;
  const Matrix<float>& x_;
  Matrix<float> y_;
  QuantizedInputs inputs_;
  std::vector<Matrix<uint8_t>> scratch_;
};

// As the model runs FP16 weights: a few tokens read them as they are, more take panels in FP32.
class Half : public Product {
 public:
  Half(const ProductSpec& spec, Team* team)
      : spec_(spec),
        team_(team),
        copies_(HalfCopies({spec.rows, spec.cols}, spec.streamed)),
        used_(spec.streamed ? copies_.size() : 1),
        x_(Inputs(spec.tokens, spec.cols)),
        y_(Unwritten(spec.tokens, spec.rows)) {
    for (size_t worker = 0; worker < spec.threads; ++worker)
      panels_.emplace_back(kPanelOutputs, spec.cols);
  }
  void Run() override {
    last_ = (last_ + 1) % used_;
    ForTiles(team_, spec_.rows, [&](size_t first, size_t count, size_t worker) {
      const DenseRows rows = Rows().Rows(first, count);
      if (spec_.tokens > ThinTokens(spec_.isa)) return Decoded(rows, first, panels_[worker]);
      ThinKernelsFor(spec_.isa).half({rows.data, count, spec_.cols, x_.data(), spec_.cols,
                                      spec_.tokens, y_.data() + first, spec_.rows});
    });
  }
  bool IsRight(Rng& rng) const override {
    return SampledError(x_.view(), Rows(), y_.view(), rng) <= ErrorBound(spec_.cols);
  }
  size_t weight_bytes() const override { return spec_.rows * spec_.cols * sizeof(uint16_t); }

 private:
  static constexpr size_t kPanelOutputs = 512;

  DenseRows Rows() const {
    return {copies_[last_].get(), DenseRows::Type::kFp16, spec_.rows, spec_.cols};
  }
  void Decoded(const DenseRows& rows, size_t first, Matrix<float>& panel) {
    for (size_t at = 0; at < rows.rows; at += kPanelOutputs) {
      const size_t count = std::min(kPanelOutputs, rows.rows - at);
      Ops().half_to_float(static_cast<const uint16_t*>(rows.Rows(at, count).data), panel.data(),
                          count * spec_.cols);
      MultiplyTransposed(x_.view(), panel.view().Rows(0, count), y_.view().Cols(first + at, count));
    }
  }

  ProductSpec spec_;
  Team* team_;
  const std::vector<std::shared_ptr<uint8_t>>& copies_;
  size_t used_, last_ = 0;
  const Matrix<float>& x_;
  Matrix<float> y_;
  std::vector<Matrix<float>> panels_;
};

class Float : public Product {
 public:
  explicit Float(const ProductSpec& spec)
      : spec_(spec),
        w_(Decoded({spec.rows, spec.cols})),
        x_(Inputs(spec.tokens, spec.cols)),
        y_(Unwritten(spec.tokens, spec.rows)) {}
  void Run() override {
    if (spec_.library == Library::kOpenBlas)
      return BlasMultiplyTransposed(x_.view(), w_.view(), y_.view());
#ifdef QUANTREF_EIGEN
    const auto multiply = spec_.isa == Isa::kAvx512 ? EigenProductAvx512 : EigenProductAvx2;
    multiply(x_.data(), w_.data(), y_.data(), spec_.tokens, spec_.rows, spec_.cols);
#endif
  }
  bool IsRight(Rng& rng) const override {
    const DenseRows rows{w_.data(), DenseRows::Type::kFp32, spec_.rows, spec_.cols};
    return SampledError(x_.view(), rows, y_.view(), rng) <= ErrorBound(spec_.cols);
  }
  size_t weight_bytes() const override { return spec_.rows * spec_.cols * sizeof(float); }

 private:
  ProductSpec spec_;
  const Matrix<float>& w_;
  const Matrix<float>& x_;
  Matrix<float> y_;
};

#ifdef QUANTREF_ONEDNN
const Matrix<int8_t>& Bytes(size_t rows, size_t cols) {
  static std::map<Shape, Matrix<int8_t>> kept;
  const auto [at, is_new] = kept.try_emplace({rows, cols});
  if (is_new) {
    at->second = Matrix<int8_t>(rows, cols);
    Rng rng(4);
    for (size_t i = 0; i < rows * cols; ++i)
      at->second.data()[i] = static_cast<int8_t>(static_cast<int>(rng.Below(255)) - 127);
  }
  return at->second;
}

class OneDnn : public Product {
 public:
  explicit OneDnn(const ProductSpec& spec)
      : x_(Bytes(spec.tokens, spec.cols)), w_(Bytes(spec.rows, spec.cols)), scales_(1, spec.rows) {
    for (size_t r = 0; r < spec.rows; ++r) scales_(0, r) = 1e-4f * static_cast<float>(1 + r % 7);
    product_ = std::make_unique<OneDnnProduct>(x_, w_, scales_);
  }
  void Run() override { product_->Run(); }
  bool IsRight(Rng& rng) const override {
    for (int sample = 0; sample < 100; ++sample) {
      const size_t t = rng.Below(x_.rows()), r = rng.Below(w_.rows());
      int64_t sum = 0;
      for (size_t k = 0; k < x_.cols(); ++k) sum += x_(t, k) * w_(r, k);
      const double expected = static_cast<double>(sum) * static_cast<double>(scales_(0, r));
      const double error = std::fabs(static_cast<double>(product_->y()(t, r)) - expected);
      if (!(error <= 0x1p-22 * std::fabs(expected))) return false;
    }
    return true;
  }
  size_t weight_bytes() const override { return w_.rows() * w_.cols(); }

 private:
  const Matrix<int8_t>& x_;
  const Matrix<int8_t>& w_;
  Matrix<float> scales_;
  std::unique_ptr<OneDnnProduct> product_;
};
#endif

}  // namespace

const std::vector<std::string>& QuantizedFormats() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const auto& [name, format] : Formats()) all.push_back(name);
    return all;
  }();
  return names;
}

bool HasLibrary(Library library) {
  bool eigen = false, onednn = false;
#ifdef QUANTREF_EIGEN
  eigen = true;
#endif
#ifdef QUANTREF_ONEDNN
  onednn = true;
#endif
  if (library == Library::kEigen) return eigen;
  return library != Library::kOneDnn || onednn;
}

std::string SpecName(const ProductSpec& spec) {
  std::string name;
  switch (spec.library) {
    case Library::kOurs:
      name = fmt::format("{}:{}", spec.format, IsaName(spec.isa));
      break;
    case Library::kOpenBlas:
      name = "openblas_f32";
      break;
    case Library::kEigen:
      name = fmt::format("eigen_f32:{}", IsaName(spec.isa));
      break;
    case Library::kOneDnn:
      name = "onednn_s8s8";
      break;
  }
  return fmt::format("{}/{}x{}/M:{}{}{}{}", name, spec.rows, spec.cols, spec.tokens,
                     spec.streamed ? "/streamed" : "", spec.packed ? "/packed" : "",
                     spec.threads > 1 ? fmt::format("/team:{}", spec.threads) : "");
}

std::unique_ptr<Product> MakeProduct(const ProductSpec& spec, Team* team) {
  QR_CHECK(HasLibrary(spec.library));
#ifdef QUANTREF_ONEDNN
  if (spec.library == Library::kOneDnn) return std::make_unique<OneDnn>(spec);
#endif
  if (spec.library != Library::kOurs) return std::make_unique<Float>(spec);
  if (spec.format == "fp16") return std::make_unique<Half>(spec, team);
  return std::make_unique<Quantized>(spec, team);
}

}  // namespace quantref::bench
