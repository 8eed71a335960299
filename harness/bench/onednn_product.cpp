#include "harness/bench/onednn_product.h"

#include <dlfcn.h>

#include <dnnl.hpp>
#include <vector>

namespace quantref::bench {
namespace {

using dnnl::memory;

// Its threads are OpenMP's, whose number an environment variable set this late would not change.
void UseOneThread() {
  const auto set = reinterpret_cast<void (*)(int)>(dlsym(RTLD_DEFAULT, "omp_set_num_threads"));
  if (set != nullptr) set(1);
}

memory::dims Dims(size_t rows, size_t cols) {
  return {static_cast<memory::dim>(rows), static_cast<memory::dim>(cols)};
}

}  // namespace

struct OneDnnProduct::State {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  Matrix<float> y;
  dnnl::matmul product;
  memory source, weights, result;
};

OneDnnProduct::OneDnnProduct(const Matrix<int8_t>& x, const Matrix<int8_t>& w,
                             const Matrix<float>& scales) {
  UseOneThread();
  state_ = std::make_unique<State>();
  State& s = *state_;
  const size_t tokens = x.rows(), rows = w.rows(), cols = w.cols();
  s.y = Matrix<float>(tokens, rows);
  using Type = memory::data_type;
  using Tag = memory::format_tag;
  const memory::desc source(Dims(tokens, cols), Type::s8, Tag::ab);
  const memory::desc weights(Dims(cols, rows), Type::s8, Tag::any);
  const memory::desc result(Dims(tokens, rows), Type::f32, Tag::ab);
  dnnl::primitive_attr attributes;
  constexpr int kEachColumn = 1 << 1;
  attributes.set_output_scales(kEachColumn, {scales.data(), scales.data() + rows});
  const dnnl::matmul::primitive_desc description({source, weights, result}, attributes, s.engine);
  s.product = dnnl::matmul(description);
  s.source = memory(source, s.engine, x.data());
  s.result = memory(result, s.engine, s.y.data());
  memory given({Dims(cols, rows), Type::s8, Tag::ba}, s.engine, w.data());
  s.weights = memory(description.weights_desc(), s.engine);
  dnnl::reorder(given, s.weights).execute(s.stream, given, s.weights);
  s.stream.wait();
}

OneDnnProduct::~OneDnnProduct() = default;

void OneDnnProduct::Run() {
  State& s = *state_;
  s.product.execute(
      s.stream,
      {{DNNL_ARG_SRC, s.source}, {DNNL_ARG_WEIGHTS, s.weights}, {DNNL_ARG_DST, s.result}});
  s.stream.wait();
}

const Matrix<float>& OneDnnProduct::y() const { return state_->y; }

}  // namespace quantref::bench
