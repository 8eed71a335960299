// Our kernels on every instruction set that the CPU has, beside OpenBLAS, Eigen and, where it was
// there to build with, oneDNN: kernel_bench [Google Benchmark flags]. Each product is verified
// before it is timed; repetitions of all cases are interleaved at random. Without
// --benchmark_filter a selection runs (a minute or so); with one, every case can be reached
// (--benchmark_list_tests=true names them; all together take hours). Behind the table: the
// machine's limits in the same minutes and what share of them each case reached.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "harness/base/free_cores.h"
#include "harness/bench/bench.h"
#include "harness/bench/products.h"
#include "harness/kernels/probes.h"
#include "harness/kernels/thin_gemm.h"

namespace quantref {
namespace {

using bench::Library;
using bench::ProductSpec;

constexpr size_t kTokens[] = {1, 8, 32, 128, 512};
// 576 inputs in groups of 128: the last is the half of one.
constexpr size_t kShapes[][2] = {{512, 512},    {576, 576},    {1408, 512},  {4096, 4096},
                                 {11008, 4096}, {4096, 11008}, {14336, 4096}};
constexpr size_t kStreamedRows = 11008, kTeam = 2, kReadings = 3;

std::vector<Isa> AvailableIsas() {
  std::vector<Isa> isas;
  for (const Isa isa : KnownIsas()) {
    if (CpuHas(isa)) isas.push_back(isa);
  }
  return isas;
}

bool HasKernel(const ProductSpec& spec) {
  if (!bench::HasLibrary(spec.library)) return false;
  const bool thin = spec.tokens <= ThinTokens(spec.isa);
  switch (spec.library) {
    case Library::kOurs:
      if (spec.isa == Isa::kScalar && spec.rows > 512) return false;  // seconds a product
      if (spec.streamed && (spec.rows != kStreamedRows || !thin || spec.packed)) return false;
      if (spec.threads > 1 && spec.isa != ActiveIsa()) return false;
      if (spec.format != "fp16") return true;
      return !spec.packed && (thin ? spec.isa != Isa::kAmx : spec.isa == ActiveIsa());
    case Library::kEigen:
      return spec.isa == Isa::kAvx2 || spec.isa == Isa::kAvx512;
    default:
      return spec.isa == ActiveIsa();
  }
}

std::vector<ProductSpec> AllCases() {
  std::vector<std::string> formats = bench::QuantizedFormats();
  formats.push_back("fp16");
  std::vector<ProductSpec> cases;
  const auto add = [&](const ProductSpec& spec) {
    if (HasKernel(spec)) cases.push_back(spec);
  };
  for (const auto& [rows, cols] : kShapes) {
    for (const size_t tokens : kTokens) {
      for (const Isa isa : AvailableIsas()) {
        for (const std::string& format : formats) {
          const ProductSpec spec{Library::kOurs, format, isa, rows, cols, tokens};
          for (const size_t threads : {size_t{1}, kTeam}) {
            for (const bool streamed : {false, true}) {
              for (const bool packed : {false, true}) {
                ProductSpec one = spec;
                one.streamed = streamed;
                one.packed = packed;
                one.threads = threads;
                add(one);
              }
            }
          }
        }
        for (const Library library : {Library::kOpenBlas, Library::kEigen, Library::kOneDnn})
          add({library, "", isa, rows, cols, tokens});
      }
    }
  }
  return cases;
}

// What runs when nothing is asked for.
bool InSelection(const ProductSpec& spec) {
  static const std::set<std::string> kNotStreamed = {"w4a8_g32", "w4a8_g128", "fp4a16_g64",
                                                     "mxfp4a8", "nvfp4a16"};
  if (spec.streamed) {
    return spec.tokens == 1 && spec.isa == (spec.format == "fp16" ? Isa::kAvx512 : ActiveIsa()) &&
           !kNotStreamed.contains(spec.format) &&
           (spec.threads == 1 || spec.format == "w4a16_g128");
  }
  if (spec.rows != 4096 || spec.cols != 4096 ||
      (spec.tokens != 1 && spec.tokens != 8 && spec.tokens != 512))
    return false;
  if (spec.library == Library::kEigen) return spec.isa == Isa::kAvx512 || !CpuHas(Isa::kAvx512);
  if (spec.library != Library::kOurs) return true;
  const bool w8a8 = spec.format == "w8a8_row";
  if (spec.threads > 1) return w8a8 && spec.tokens == 512 && !spec.packed;
  if (spec.isa != ActiveIsa() && spec.format != "fp16") return w8a8 && spec.tokens == 512;
  const std::set<std::string> formats = {"w4a16_g128", "w4a16_g64", "nf4a16_g64", "mxfp4a16",
                                         "w4a8_g128",  "w4a8_g32",  "w8a8_row",   "fp16"};
  return formats.contains(spec.format) && (!spec.packed || w8a8) && spec.isa != Isa::kAvx2;
}

Team* TeamOf(size_t threads) {
  static Team two(kTeam);
  return threads == 1 ? nullptr : &two;
}

double Operations(const ProductSpec& spec) {
  return 2.0 * static_cast<double>(spec.rows * spec.cols * spec.tokens);
}

benchmark::Counter Rate(double an_iteration) {
  return {an_iteration, benchmark::Counter::kIsIterationInvariantRate, benchmark::Counter::kIs1000};
}

// Whether each case's product was right: a repetition of one that was not is no number either.
std::map<std::string, bool>& Verified() {
  static std::map<std::string, bool> verified;
  return verified;
}

void RunCase(benchmark::State& state, const ProductSpec& spec) {
  const auto product = bench::MakeProduct(spec, TeamOf(spec.threads));
  product->Run();
  const auto [verified, is_new] = Verified().try_emplace(bench::SpecName(spec));
  if (is_new) {
    Rng rng(1);
    verified->second = product->IsRight(rng);
  }
  if (!verified->second) return state.SkipWithError("the result is wrong");
  for (auto _ : state) product->Run();
  state.counters["op/s"] = Rate(Operations(spec));
  state.counters["B/s"] = Rate(static_cast<double>(product->weight_bytes()));
}

// The machine's limits for one thread are benchmarks of their own, interleaved with the products;
// the rates before and after all are for teams, and where a filter leaves those out.
constexpr char kReadMemory[] = "limit:read_memory", kReadCache[] = "limit:read_cache";
std::string DotLimitName(Isa isa) { return fmt::format("limit:int8:{}", IsaName(isa)); }

void ReadLimit(benchmark::State& state, size_t bytes) {
  static std::map<size_t, ProbeBuffer> buffers;
  const ProbeBuffer& buffer = buffers.try_emplace(bytes, bytes).first->second;
  const ProbeOps& ops = ProbesFor(ActiveIsa());
  for (auto _ : state) {
    if (ops.read(buffer.bytes().data(), buffer.bytes().size()) != buffer.sum())
      return state.SkipWithError("the sum is wrong");
  }
  state.counters["B/s"] = Rate(static_cast<double>(buffer.bytes().size()));
}

void DotLimit(benchmark::State& state, Isa isa) {
  constexpr size_t kRounds = 10000;
  const ProbeOps& ops = ProbesFor(isa);
  for (auto _ : state) {
    if (ops.dot(kRounds, 1, 1) != static_cast<int64_t>(kRounds * ops.dot_operations / 2))
      return state.SkipWithError("the sum is wrong");
  }
  state.counters["op/s"] = Rate(static_cast<double>(kRounds * ops.dot_operations));
}

class Limits {
 public:
  static void Register() {
    const auto add = [](const std::string& name, auto run) {
      benchmark::RegisterBenchmark(name.c_str(), run)->UseRealTime()->Unit(benchmark::kMicrosecond);
    };
    const size_t cache = LargestCacheBytes();
    add(kReadMemory, [=](benchmark::State& state) { ReadLimit(state, 2 * cache); });
    add(kReadCache, [=](benchmark::State& state) { ReadLimit(state, cache / 4); });
    for (const Isa isa : AvailableIsas())
      add(DotLimitName(isa), [=](benchmark::State& state) { DotLimit(state, isa); });
  }
  void Take() {
    cores_.push_back(MeasureFreeCores());
    for (const size_t threads : {size_t{1}, kTeam})
      readings_[threads].Take(buffers_, TeamOf(threads), kReadings);
    for (const Isa isa : AvailableIsas()) dots_[isa] = DotRate(nullptr, isa);
  }
  void Print() const {
    const bool busy = *std::min_element(cores_.begin(), cores_.end()) < 1.8;
    fmt::print("\nfree cores: {:.2f} before, {:.2f} after{}\n", cores_.front(), cores_.back(),
               busy ? "; BUSY MACHINE: figures of teams do not count" : "");
    for (const auto& [threads, limits] : readings_) {
      fmt::print(
          "{} thread(s), {}, before and after: reads {:.1f} GB/s from memory, {:.1f} from the "
          "cache; FP32 {:.0f} GFLOP/s, int8 {:.0f} GOP/s\n",
          threads, IsaName(ActiveIsa()), limits.read_memory() / 1e9, limits.read_cache() / 1e9,
          limits.fma() / 1e9, limits.dot() / 1e9);
    }
  }
  double Reading(const ProductSpec& spec, const bench::MedianReporter& reporter) const {
    const LimitReadings& limits = readings_.at(spec.threads);
    const double interleaved =
        reporter.MedianCounter(spec.streamed ? kReadMemory : kReadCache, "B/s");
    if (spec.threads == 1 && interleaved > 0) return interleaved;
    return spec.streamed ? limits.read_memory() : limits.read_cache();
  }
  double Dot(const ProductSpec& spec, const bench::MedianReporter& reporter) const {
    if (spec.threads > 1) return readings_.at(spec.threads).dot();
    const double interleaved = reporter.MedianCounter(DotLimitName(spec.isa), "op/s");
    return interleaved > 0 ? interleaved : dots_.at(spec.isa);
  }

 private:
  std::vector<double> cores_;
  const LimitBuffers buffers_;
  std::map<size_t, LimitReadings> readings_;
  std::map<Isa, double> dots_;
};

void PrintCase(const ProductSpec& spec, const Limits& limits,
               const bench::MedianReporter& reporter) {
  const double seconds = reporter.MedianSeconds(bench::SpecName(spec));
  if (seconds == 0) return;
  const double rate = Operations(spec) / seconds;
  const double bytes = reporter.MedianCounter(bench::SpecName(spec), "B/s");
  std::string line = fmt::format("{:<46} {:>7.1f} GOP/s {:>6.1f} GB/s", bench::SpecName(spec),
                                 rate / 1e9, bytes / 1e9);
  const bool rounded = spec.format.find("a8") != std::string::npos;
  if (spec.library == Library::kOurs) {
    if (spec.tokens == 1)
      line += fmt::format("  {:.0f} % of reading", 100 * bytes / limits.Reading(spec, reporter));
    else if (rounded)
      line += fmt::format("  {:.0f} % of int8", 100 * rate / limits.Dot(spec, reporter));
    for (const Library other : {Library::kOpenBlas, Library::kOneDnn}) {
      const double beside = reporter.MedianSeconds(
          bench::SpecName({other, "", ActiveIsa(), spec.rows, spec.cols, spec.tokens}));
      if (beside == 0 || spec.threads > 1 || spec.streamed) continue;
      if (other == Library::kOneDnn && !rounded) continue;  // it multiplies bytes
      line += fmt::format("  {:.2f} x {}", beside / seconds,
                          other == Library::kOpenBlas ? "OpenBLAS" : "oneDNN");
    }
  }
  fmt::print("{}\n", line);
}

int Main(int argc, char** argv) {
  const bool all = bench::GivesFlag(argc, argv, "--benchmark_filter") ||
                   bench::GivesFlag(argc, argv, "--benchmark_list_tests");
  const std::vector<ProductSpec> cases = AllCases();
  for (const ProductSpec& spec : cases) {
    if (!all && !InSelection(spec)) continue;
    benchmark::RegisterBenchmark(bench::SpecName(spec).c_str(),
                                 [spec](benchmark::State& state) { RunCase(state, spec); })
        ->UseRealTime()
        ->Unit(benchmark::kMicrosecond);
  }
  Limits::Register();
  Limits limits;
  if (!bench::GivesFlag(argc, argv, "--benchmark_list_tests")) limits.Take();
  bench::MedianReporter reporter([&](const bench::MedianReporter& medians) {
    limits.Take();
    limits.Print();
    for (const ProductSpec& spec : cases) PrintCase(spec, limits, medians);
  });
  const int code = bench::RunBenchmarks(
      argc, argv, {"--benchmark_repetitions=5", "--benchmark_min_time=0.05"}, reporter);
  constexpr int kBug = 3;
  const bool right =
      std::all_of(Verified().begin(), Verified().end(), [](const auto& one) { return one.second; });
  return right ? code : kBug;
}

}  // namespace
}  // namespace quantref

int main(int argc, char** argv) {
  return quantref::bench::Guarded("kernel_bench", [&] { return quantref::Main(argc, argv); });
}
