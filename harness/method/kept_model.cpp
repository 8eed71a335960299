#include "harness/method/kept_model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "harness/base/check.h"
#include "harness/base/parallel.h"
#include "harness/io/binary.h"
#include "harness/model/adapter.h"
#include "harness/quant/format.h"
#include "harness/quant/grid.h"
#include "harness/quant/scale.h"

namespace quantref {
namespace {

// How a matrix is written.
enum class Form : uint8_t {
  kOriginal,  // nothing: the checkpoint has it
  kPacked,    // codes, to be kept in the reference layout
  kTiled,     // the same, in the kernels'
  kFp16,      // numbers that are not the checkpoint's
  kFp32,
  kNone,  // cannot be
};

constexpr std::array kSeconds = {&QuantizeSeconds::forward,   &QuantizeSeconds::statistics,
                                 &QuantizeSeconds::transform, &QuantizeSeconds::round,
                                 &QuantizeSeconds::report,    &QuantizeSeconds::train,
                                 &QuantizeSeconds::shared};
static_assert(sizeof(QuantizeSeconds) == kSeconds.size() * sizeof(double));

// All linears, whose weights share storage where the head is tied: that one is of the embedding.
template <typename Weights>
auto LinearsOf(Weights& weights) {
  auto linears = AllLinears(weights);
  if (linears.back() != &weights.head) linears.push_back(&weights.head);
  return linears;
}

// The plan's entry of the i-th of these.
const PlannedLinear& PlannedOf(const std::vector<PlannedLinear>& plan, size_t i) {
  return i < plan.size() ? plan[i] : plan.front();
}

Form FormOf(const Linear& linear, const Linear& original, const PlannedLinear& planned) {
  const Weight& weight = linear.weight;
  if (weight.SharesStorage(original.weight)) return Form::kOriginal;
  const PackedMatrix* packed = weight.packed();
  const TiledMatrix* tiled = weight.tiled();
  if (packed != nullptr || tiled != nullptr) {
    const WeightScheme& scheme = packed != nullptr ? packed->scheme() : tiled->scheme();
    if (planned.scheme != scheme) return Form::kNone;
    return packed != nullptr ? Form::kPacked : Form::kTiled;
  }
  const std::optional<DenseRows> dense = weight.dense();
  if (!dense || !weight.owned() || dense->type == DenseRows::Type::kBf16) return Form::kNone;
  return dense->type == DenseRows::Type::kFp16 ? Form::kFp16 : Form::kFp32;
}

void PutCodes(const PackedMatrix& matrix, std::string& bytes) {
  const ScaleFrame& frame = matrix.frame();
  Put(bytes, int32_t{frame.exponent});
  Put(bytes, frame.divisor);
  Put(bytes, frame.mean);
  PutList(bytes, frame.absmax);
  PutList(bytes, matrix.order());
  PutList(bytes, matrix.codes());
  PutList(bytes, matrix.scale_bytes());
  PutList(bytes, matrix.zero_bytes());
}

void PutActivations(const std::optional<ActivationFormat>& format, std::string& bytes) {
  Put(bytes, static_cast<uint8_t>(format.has_value()));
  if (!format) return;
  Put(bytes, int32_t{format->bits});
  Put(bytes, static_cast<uint8_t>(format->per_token));
  Put(bytes, static_cast<uint8_t>(format->static_scale.has_value()));
  Put(bytes, format->static_scale.value_or(0));
  PutList(bytes, std::string(format->format->name));
  Put(bytes, uint64_t{format->group});
  Put(bytes, static_cast<uint8_t>(format->outliers.has_value()));
  if (!format->outliers) return;
  Put(bytes, format->outliers->threshold);
  Put(bytes, static_cast<uint8_t>(format->KeepsWeights()));
}

void PutNumbers(const Weight& weight, std::string& bytes) {
  const Matrix<float> values = weight.Decode();
  PutList(bytes, std::span<const float>(values.data(), values.rows() * values.cols()));
}

void PutAdapter(const Adapter* adapter, std::string& bytes) {
  Put(bytes, uint64_t{adapter != nullptr ? adapter->rank() : 0});
  if (adapter == nullptr) return;
  PutNumbers(adapter->down.weight, bytes);
  PutNumbers(adapter->up.weight, bytes);
  Put(bytes, adapter->scale);
}

void PutLinear(const Linear& linear, Form form, std::string& bytes) {
  Put(bytes, form);
  if (form == Form::kPacked) PutCodes(*linear.weight.packed(), bytes);
  if (form == Form::kTiled) PutCodes(linear.weight.tiled()->Unpack(), bytes);
  if (form == Form::kFp16 || form == Form::kFp32) PutNumbers(linear.weight, bytes);
  PutList(bytes, linear.bias);
  PutActivations(linear.activations, bytes);
  if (linear.activations && linear.activations->KeepsWeights())
    PutNumbers(linear.outlier_weights, bytes);
  PutAdapter(linear.adapter.get(), bytes);
}

void PutReport(const LayerReport& layer, std::string& bytes) {
  for (const std::string* text :
       {&layer.name, &layer.method, &layer.asked, &layer.packed_sha256, &layer.note})
    PutList(bytes, *text);
  for (const double value :
       {layer.effective_bits, layer.weight_mse, layer.clipped_share, layer.seconds})
    Put(bytes, value);
  for (const auto& error : {layer.output_mse, layer.output_error}) {
    Put(bytes, static_cast<uint8_t>(error.has_value()));
    Put(bytes, error.value_or(0));
  }
  Put(bytes, layer.scale_min);
  Put(bytes, layer.scale_max);
}

// Reads from the front of the bytes, as long as they are right.
class KeptReader {
 public:
  explicit KeptReader(std::string_view bytes) : rest_(bytes) {}

  bool good() const { return good_; }
  bool AtEnd() const { return good_ && rest_.empty(); }
  void Require(bool condition) { good_ = good_ && condition; }

  template <typename T>
  T Number() {
    T value{};
    Require(good_ && Take(rest_, value));
    return value;
  }
  template <typename List>
  List Some() {
    List list;
    Require(good_ && TakeList(rest_, list));
    return list;
  }
  bool Flag() {
    const auto flag = Number<uint8_t>();
    Require(flag <= 1);
    return flag == 1;
  }

 private:
  std::string_view rest_;
  bool good_ = true;
};

bool IsOrder(std::span<const uint32_t> order, size_t cols) {
  if (order.empty()) return true;
  std::vector<bool> seen(cols);
  for (const uint32_t column : order) {
    if (column >= cols || seen[column]) return false;
    seen[column] = true;
  }
  return order.size() == cols;
}

ScaleFrame TakeFrame(KeptReader& reader) {
  ScaleFrame frame;
  frame.exponent = reader.Number<int32_t>();
  frame.divisor = reader.Number<float>();
  frame.mean = reader.Number<float>();
  frame.absmax = reader.Some<std::vector<float>>();
  reader.Require(-kMostExponent <= frame.exponent && frame.exponent <= kMostExponent &&
                 frame.divisor > 0 && std::isfinite(frame.divisor) && std::isfinite(frame.mean) &&
                 std::ranges::all_of(frame.absmax, [](float x) { return std::isfinite(x); }));
  return frame;
}

Weight TakeCodes(const PlannedLinear& planned, KeptReader& reader) {
  const auto& [name, rows, cols] = planned.shape;
  ScaleFrame frame = TakeFrame(reader);
  auto order = reader.Some<std::vector<uint32_t>>();
  const auto codes = reader.Some<std::vector<uint8_t>>();
  const auto scales = reader.Some<std::vector<uint8_t>>();
  const auto zeros = reader.Some<std::vector<uint8_t>>();
  reader.Require(planned.scheme && IsOrder(order, cols));
  if (!reader.good()) return {};
  const auto matrix = std::make_shared<PackedMatrix>(rows, cols, *planned.scheme);
  const size_t blocks = (matrix->scales().count() + kNestedBlock - 1) / kNestedBlock;
  reader.Require(frame.absmax.size() == (planned.scheme->double_quant ? blocks : 0));
  if (!reader.good()) return {};
  matrix->set_frame(std::move(frame));
  matrix->set_order(std::move(order));
  reader.Require(matrix->SetStored(codes, scales, zeros));
  return reader.good() ? Weight(matrix) : Weight();
}

Weight TakeNumbers(const LinearShape& shape, bool halves, KeptReader& reader) {
  const auto values = reader.Some<std::vector<float>>();
  const auto& [name, rows, cols] = shape;
  reader.Require(values.size() == rows * cols);
  if (!reader.good()) return {};
  if (halves) return Weight::RoundedToHalf({values.data(), rows, cols}, name);
  Matrix<float> matrix(rows, cols);
  std::copy(values.begin(), values.end(), matrix.data());
  return Weight(std::move(matrix));
}

std::optional<ActivationFormat> TakeActivations(KeptReader& reader) {
  if (!reader.Flag()) return std::nullopt;
  ActivationFormat format;
  format.bits = reader.Number<int32_t>();
  reader.Require(format.bits >= kMinBits && format.bits <= kMaxBits);
  format.per_token = reader.Flag();
  const bool is_static = reader.Flag();
  const auto scale = reader.Number<float>();
  if (is_static) format.static_scale = scale;
  format.format = FindFormat(reader.Some<std::string>());
  format.group = reader.Number<uint64_t>();
  reader.Require(format.format != nullptr);
  if (!reader.Flag()) return format;
  OutlierRule& outliers = format.outliers.emplace();
  outliers.threshold = reader.Number<double>();
  reader.Require(outliers.threshold > 0);
  const bool keeps_weights = reader.Flag();
  outliers.weights = keeps_weights ? OutlierRule::Weights::kFp16 : OutlierRule::Weights::kInt8;
  return format;
}

std::shared_ptr<const Adapter> TakeAdapter(const LinearShape& shape, KeptReader& reader) {
  const auto rank = reader.Number<uint64_t>();
  if (rank == 0) return nullptr;
  const auto a = reader.Some<std::vector<float>>(), b = reader.Some<std::vector<float>>();
  const auto scale = reader.Number<float>();
  const auto& [name, rows, cols] = shape;
  reader.Require(a.size() % cols == 0 && a.size() / cols == rank && b.size() % rows == 0 &&
                 b.size() / rows == rank && std::isfinite(scale));
  if (!reader.good()) return nullptr;
  return MakeAdapter(name, {a.data(), rank, cols}, {b.data(), rows, rank}, scale);
}

// Returns whether the codes are to go into the kernels' layout.
bool TakeLinear(const PlannedLinear& planned, Linear& linear, KeptReader& reader) {
  const Form form = reader.Number<Form>();
  reader.Require(form < Form::kNone);
  if (form == Form::kPacked || form == Form::kTiled) linear.weight = TakeCodes(planned, reader);
  if (form == Form::kFp16 || form == Form::kFp32)
    linear.weight = TakeNumbers(planned.shape, form == Form::kFp16, reader);
  linear.bias = reader.Some<std::vector<float>>();
  reader.Require(linear.bias.empty() || linear.bias.size() == planned.shape.rows);
  linear.activations = TakeActivations(reader);
  const auto& [name, rows, cols] = planned.shape;
  if (linear.activations && linear.activations->KeepsWeights())
    linear.outlier_weights = TakeNumbers({name, cols, rows}, true, reader);
  linear.adapter = TakeAdapter(planned.shape, reader);
  return form == Form::kTiled;
}

LayerReport TakeReport(const std::vector<PlannedLinear>& plan, KeptReader& reader) {
  LayerReport layer;
  for (std::string* text :
       {&layer.name, &layer.method, &layer.asked, &layer.packed_sha256, &layer.note})
    *text = reader.Some<std::string>();
  for (double* value :
       {&layer.effective_bits, &layer.weight_mse, &layer.clipped_share, &layer.seconds})
    *value = reader.Number<double>();
  for (auto* error : {&layer.output_mse, &layer.output_error}) {
    const bool there = reader.Flag();
    const auto value = reader.Number<double>();
    if (there) *error = value;
  }
  layer.scale_min = reader.Number<float>();
  layer.scale_max = reader.Number<float>();
  const auto planned = std::find_if(plan.begin(), plan.end(), [&](const PlannedLinear& linear) {
    return linear.shape.name == layer.name;
  });
  reader.Require(planned != plan.end() && planned->scheme);
  if (reader.good()) layer.scheme = *planned->scheme;
  return layer;
}

void TakeNorms(ModelWeights& weights, KeptReader& reader) {
  const auto take = [&](std::vector<float>& numbers, bool may_lack) {
    const size_t size = numbers.size();
    numbers = reader.Some<std::vector<float>>();
    reader.Require(numbers.size() == size || (may_lack && numbers.empty()));
  };
  // A bias may be folded away, a gain not.
  for (BlockWeights& block : weights.blocks) {
    for (std::vector<float>& gain : block.norms) take(gain, false);
    for (std::vector<float>& bias : block.norm_biases) take(bias, true);
  }
  take(weights.final_norm, false);
  take(weights.final_norm_bias, true);
}

}  // namespace

bool WriteModel(const ModelWeights& original, const std::vector<PlannedLinear>& plan,
                const QuantizedModel& model, const ByteSink& sink) {
  const std::vector<const Linear*> linears = LinearsOf(model.weights);
  const std::vector<const Linear*> originals = LinearsOf(original);
  QR_CHECK_EQ(linears.size(), originals.size());
  std::vector<Form> forms;
  for (size_t i = 0; i < linears.size(); ++i)
    forms.push_back(FormOf(*linears[i], *originals[i], PlannedOf(plan, i)));
  if (std::ranges::count(forms, Form::kNone) > 0) return false;
  if (model.weights.positions != original.positions) return false;
  // A tied head's are the embedding's.
  const bool tied = linears.size() > plan.size();
  if (tied) forms.back() = Form::kOriginal;

  std::string bytes;
  for (const auto part : kSeconds) Put(bytes, model.seconds.*part);
  PutList(bytes, model.losses);
  Put(bytes, uint64_t{model.layers.size()});
  for (const LayerReport& layer : model.layers) PutReport(layer, bytes);
  for (const BlockWeights& block : model.weights.blocks) {
    for (const auto* vectors : {&block.norms, &block.norm_biases}) {
      for (const std::vector<float>& numbers : *vectors) PutList(bytes, numbers);
    }
  }
  PutList(bytes, model.weights.final_norm);
  PutList(bytes, model.weights.final_norm_bias);
  sink(bytes);
  for (size_t i = 0; i < linears.size(); ++i) {
    bytes.clear();
    PutLinear(*linears[i], forms[i], bytes);
    sink(bytes);
  }
  return true;
}

std::optional<QuantizedModel> ReadModel(std::string_view bytes, const ModelWeights& original,
                                        const std::vector<PlannedLinear>& plan, size_t threads) {
  QuantizedModel model{original};
  KeptReader reader(bytes);
  for (const auto part : kSeconds) model.seconds.*part = reader.Number<double>();
  model.losses = reader.Some<std::vector<double>>();
  const auto layers = reader.Number<uint64_t>();
  reader.Require(layers <= plan.size());
  for (uint64_t i = 0; reader.good() && i < layers; ++i)
    model.layers.push_back(TakeReport(plan, reader));
  TakeNorms(model.weights, reader);
  const std::vector<Linear*> linears = LinearsOf(model.weights);
  std::vector<size_t> tiled;
  for (size_t i = 0; reader.good() && i < linears.size(); ++i) {
    if (TakeLinear(PlannedOf(plan, i), *linears[i], reader)) tiled.push_back(i);
  }
  if (!reader.AtEnd()) return std::nullopt;
  ParallelFor(tiled.size(), threads, [&](size_t i, size_t) {
    linears[tiled[i]]->weight = linears[tiled[i]]->weight.WithKernels();
  });
  if (linears.size() > plan.size()) model.weights.head.weight = model.weights.embedding.weight;
  return model;
}

}  // namespace quantref
