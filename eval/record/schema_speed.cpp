#include "eval/record/schema_rows.h"

namespace quantref {
namespace {

using enum FieldType;
using enum Presence;
using Rows = std::vector<RecordField>;

constexpr unsigned kTimed = Role::kSample | Role::kMoment,
                   kOfTimes = Role::kAggregate | Role::kMoment;

const Rows& Kernels() {
  static const Rows rows = {
      {"throughput", kMap, kOptional, "", "absent where nothing was timed"},
      {"throughput.kernels", kMaps, kOptional, "", "products of activations with one matrix"},
      {"throughput.kernels[].op", kText, kRequired, "",
       "`w4a16 g128 asym`, of other formats `nf4 a16 g64`; without codes `fp16`, `bf16` or `fp32`, "
       "as the weights are"},
      {"throughput.kernels[].rows", kCount, kRequired, "", "of the matrix"},
      {"throughput.kernels[].cols", kCount, kRequired, "", "of the matrix"},
      {"throughput.kernels[].tokens", kCount, kRequired, "tokens", "of activations"},
      {"throughput.kernels[].threads", kCount, kRequired, "", "at work"},
      {"throughput.kernels[].isa", kText, kWritten, "", "of our kernels"},
      {"throughput.kernels[].way", kText, kOptional, "",
       "`codes`: they were multiplied as they are; `panels`: decoded, a few rows at a time, for FP32 "
       "products, which were faster. Absent without codes, and in older records"},
      {"throughput.kernels[].streamed", kFlag, kWritten, "",
       "the weights came from memory, else, for up to 8 tokens, from the cache as far as it holds "
       "them (a call that is not timed goes before each sample)"},
      {"throughput.kernels[].bytes", kCount, kWritten, "bytes", "of weights read"},
      {"throughput.kernels[].ns", kNumber, kRequired, "ns", "the median", kOfTimes},
      {"throughput.kernels[].gbps", kNumber, kWritten, "GB/s", "of that", kOfTimes},
      {"throughput.kernels[].gops", kNumber, kWritten, "10^9/s", "of that: a multiply-add counts 2",
       kOfTimes},
      {"throughput.kernels[].vs_fp16", kNumber, kOptional, "",
       "how many times as fast as our FP16 kernel on the same product: the median of "
       "`fp16_samples` over `ns`",
       kOfTimes},
      {"throughput.kernels[].vs_openblas", kNumber, kOptional, "",
       "as OpenBLAS (sgemm; of one token sgemv), likewise", kOfTimes},
      {"throughput.kernels[].share_of_read", kNumber, kOptional, "",
       "of what the machine gave in the same minutes (`roofline`, as many threads): of the reads "
       "from memory, or from the cache",
       kOfTimes},
      {"throughput.kernels[].share_of_int8_peak", kNumber, kOptional, "", "of its integer peak",
       kOfTimes},
      {"throughput.kernels[].share_of_fp32_peak", kNumber, kOptional, "",
       "of weights without codes: of its FP32 peak", kOfTimes},
      {"throughput.kernels[].repeats", kCount, kWritten, "",
       "in a row, that a sample is the mean of", Role::kMoment},
      {"throughput.kernels[].samples", kNumbers, kWritten, "ns",
       "each the mean of `repeats` in a row", kTimed},
      {"throughput.kernels[].fp16_samples", kNumbers, kOptional, "ns", "of our FP16 kernel",
       kTimed},
      {"throughput.kernels[].openblas_samples", kNumbers, kOptional, "ns", "of OpenBLAS", kTimed},
  };
  return rows;
}

// Of whole models: prefill or decode.
Rows Rates(const std::string& name, size_t digits) {
  const std::string list = "throughput." + name + "_tokens_s", item = list + "[].";
  static const std::string_view prefill = "throughput.prefill_tokens_s[].samples",
                                decode = "throughput.decode_tokens_s[].samples";
  const bool first = name == "prefill";
  const std::string_view samples = first ? prefill : decode;
  return {
      {list, kMaps, kOptional, "",
       first ? "whole models: tokens that are read together" : "tokens that are made one by one"},
      {item + "tokens", kCount, kRequired, "tokens", "each number of them, and of threads, once"},
      {item + "threads", kCount, kRequired, "", "at work"},
      Shown({item + "median", kNumber, kWritten, "tokens/s", "of `samples`", kOfTimes},
            {.name = first ? "prefill" : "decode",
             .header = first ? "prefill (tokens/s)" : "decode (tokens/s)",
             .samples = samples,
             .larger_is_better = true,
             .digits = digits}),
      {item + "low", kNumber, kWritten, "tokens/s", "their first quartile", kOfTimes},
      {item + "high", kNumber, kWritten, "tokens/s", "their third quartile", kOfTimes},
      {item + "samples", kNumbers, kRequired, "tokens/s", "as measured", kTimed},
      Shown({item + "vs_fp16", kNumber, kOptional, "",
             "the median over that of FP16 weights of the same shapes", kOfTimes},
            {.name = first ? "prefill_vs_fp16" : "decode_vs_fp16",
             .header = first ? "prefill (× FP16)" : "decode (× FP16)",
             .samples = samples,
             .larger_is_better = true}),
      {item + "fp16_samples", kNumbers, kOptional, "tokens/s", "of these", kTimed},
  };
}

const Rows& Conditions() {
  static const Rows rows = {
      {"throughput.fp16_copy", kFlag, kOptional, "",
       "`true` where the reference is not FP16: what `vs_fp16` is to is a model of its shapes with "
       "random FP16 weights, timed in the same turns. Absent: it is the reference"},
      Stamped({"throughput.decoded_each_call", kTexts, kOptional, "",
               "matrices whose codes are decoded to FP32 for every product (`path: simulated`, "
               "`simulated_linears`): such speeds are not the format's. Tables stamp them D"},
              kDecodesStamp),
      {"throughput.roofline", kMaps, kOptional, "",
       "what the machine itself gave, measured between the cells"},
      {"throughput.roofline[].threads", kCount, kRequired, "", "at work"},
      {"throughput.roofline[].read_gbps_memory", kNumber, kRequired, "GB/s",
       "streaming reads larger than the cache; here and below 0: not measured", kTimed},
      {"throughput.roofline[].read_gbps_cache", kNumber, kRequired, "GB/s", "smaller ones", kTimed},
      {"throughput.roofline[].fp32_gflops", kNumber, kRequired, "10^9/s", "of the ISA's FP32 units",
       kTimed},
      {"throughput.roofline[].int8_gops", kNumber, kRequired, "10^9/s", "of its integer units",
       kTimed},
      {"throughput.free_cores", kMap, kRequired, "",
       "how many of two threads had a core of their own: 2 on an idle machine"},
      {"throughput.free_cores.before", kNumber, kRequired, "", "all timings", kTimed},
      {"throughput.free_cores.after", kNumber, kRequired, "", "all timings", kTimed},
      Stamped({"throughput.busy", kFlag, kOptional, "",
               "`true`: two or more threads were timed without two free cores (below 1.8), or "
               "these changed by more than 10 % meanwhile. Such figures are not the machine's",
               Role::kMoment},
              {'B', "timed on a BUSY machine", true}),
      {"throughput.reference_left_out", kText, kOptional, "",
       "why a synthetic model has no FP16 reference"},
  };
  return rows;
}

constexpr unsigned kBuild = Role::kRounding | Role::kSpeedIdentity | Role::kKnown;

}  // namespace

Rows SpeedFields() {
  Rows all = Kernels();
  for (const Rows& part : {Rates("prefill", 0), Rates("decode", 1), Conditions()})
    all.insert(all.end(), part.begin(), part.end());
  return all;
}

Rows MachineFields() {
  return {
      {"environment", kMap, kRequired, "", ""},
      Named({"environment.cpu", kText, kRequired, "", "its name",
             Role::kMachine | Role::kSpeedIdentity | Role::kKnown | Role::kNamesRun},
            "cpu"),
      {"environment.cores", kCount, kWritten, "", "of the machine"},
      {"environment.threads", kCount, kWritten, "", "of the run"},
      {"environment.compiler", kText, kRequired, "", "with its version", kBuild},
      {"environment.flags", kText, kRequired, "", "of the compiler", kBuild},
      Named({"environment.isa", kText, kRequired, "", "of our kernels", kBuild | Role::kNamesRun},
            "isa"),
      {"environment.blas", kText, kRequired, "", "with its version", kBuild},
      {"environment.blas_core", kText, kRequired, "", "whose kernels it chose", kBuild},
      {"environment.hosts", kTexts, kOptional, "",
       "names of the machines whose processes measured the windows, where these were several: "
       "shards or ranks"},
      {"environment.os", kText, kRequired, "", "with its kernel", Role::kMachine},
      {"seconds", kMap, kWritten, "", "wall time"},
      {"seconds.load", kNumber, kWritten, "s", "of the model", Role::kMoment},
      {"seconds.evaluate", kNumber, kWrittenOfText, "s", "the cell's share of it", Role::kMoment},
      {"seconds.sensitivities", kNumber, kOptional, "s",
       "to measure those that the budget was spent by, once for all cells with the same ones; of an "
       "earlier run or a shard where that kept them",
       Role::kMoment},
      {"seconds.throughput", kNumber, kOptional, "s", "of all cells together", Role::kMoment},
      {"seconds.quantize", kNumber, kOptional, "s",
       "of the cell, with all that it needs, even if other cells of the run needed it too",
       Role::kMoment},
      {"seconds.quantize_shared", kNumber, kOptional, "s",
       "of that, what was done once for several cells of the run and counts whole in each; absent "
       "where nothing was",
       Role::kMoment},
      {"seconds.quantize_threads", kCount, kOptional, "",
       "of the interrupted run that quantized the cell and whose seconds these are (`--resume`); "
       "absent where it was this run",
       Role::kMoment},
      {"seconds.quantize_stages", kMap, kOptional, "", "parts of it"},
      {"seconds.quantize_stages.forward", kNumber, kWritten, "s",
       "passes over the calibration text", Role::kMoment},
      {"seconds.quantize_stages.statistics", kNumber, kWritten, "s", "products of inputs",
       Role::kMoment},
      {"seconds.quantize_stages.transform", kNumber, kWritten, "s", "of weights and norms",
       Role::kMoment},
      {"seconds.quantize_stages.round", kNumber, kWritten, "s", "to codes", Role::kMoment},
      {"seconds.quantize_stages.report", kNumber, kWritten, "s", "the errors in `layers`",
       Role::kMoment},
      {"seconds.quantize_stages.train", kNumber, kOptional, "s", "where the cell was trained",
       Role::kMoment},
      {"seconds.resumed_windows", kCount, kOptional, "",
       "so many were taken from the journal of an interrupted run, or from shards", Role::kMoment},
      {"peak_rss_bytes", kCount, kWritten, "bytes", "of the process, up to the record",
       Role::kMoment},
  };
}

}  // namespace quantref
