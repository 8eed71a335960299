#include "eval/table/metrics.h"

namespace quantref {

const std::vector<TableMetric>& TableMetrics() {
  static const std::vector<TableMetric> metrics = {
      {"ppl", "PPL", "accuracy.ppl", "accuracy.ppl_ci95", Evidence::kNll},
      {"delta_ppl", "ΔPPL (%)", "accuracy.ppl_ratio", "accuracy.ppl_ratio_ci95", Evidence::kNll,
       false, 2, true, 100, -1},
      {"delta_nll", "ΔNLL (nats)", "accuracy.delta_nll", "accuracy.delta_nll_ci95", Evidence::kNll,
       false, 4, true},
      {"mean_nll", "NLL (nats)", "accuracy.mean_nll", "", Evidence::kNll, false, 4},
      {"word_ppl", "word PPL", "accuracy.word_ppl", "", Evidence::kNll},
      {"bits_per_byte", "bits/byte", "accuracy.bits_per_byte", "", Evidence::kNll, false, 4},
      {"kl_mean", "KL (nats)", "accuracy.kl_mean", "accuracy.kl_ci95", Evidence::kKl, false, 4},
      {"kl_p99", "KL, 99th percentile (nats)", "accuracy.kl_p99", "", Evidence::kNone, false, 3},
      {"kl_max", "KL, largest (nats)", "accuracy.kl_max", "", Evidence::kNone, false, 2},
      {"top1", "same top-1 (%)", "accuracy.top1_agreement", "accuracy.top1_ci95", Evidence::kTop1,
       true, 2, false, 100},
      {"effective_bits", "bits/weight", "effective_bits", "", Evidence::kNone, false, 3},
      {"model_effective_bits", "bits/weight, whole model", "model_effective_bits", "",
       Evidence::kNone, false, 3},
      {"prefill", "prefill (tokens/s)", "throughput.prefill_tokens_s", "median", Evidence::kPrefill,
       true, 0},
      {"prefill_vs_fp16", "prefill (× FP16)", "throughput.prefill_tokens_s", "vs_fp16",
       Evidence::kPrefill, true, 2},
      {"decode", "decode (tokens/s)", "throughput.decode_tokens_s", "median", Evidence::kDecode,
       true, 1},
      {"decode_vs_fp16", "decode (× FP16)", "throughput.decode_tokens_s", "vs_fp16",
       Evidence::kDecode, true, 2},
  };
  return metrics;
}

const TableMetric* FindTableMetric(const std::string& name) {
  for (const TableMetric& metric : TableMetrics()) {
    if (metric.name == name) return &metric;
  }
  return nullptr;
}

}  // namespace quantref
