#include "eval/record/schema_rows.h"

namespace quantref {
namespace {

using enum FieldType;
using enum Presence;
using Rows = std::vector<RecordField>;

constexpr unsigned kSum = Role::kAggregate;
constexpr std::string_view kNll = "accuracy.window_nll", kKl = "accuracy.window_kl";
constexpr std::string_view kSameTop = "accuracy.window_same_top";

const Rows& Perplexities() {
  static const Rows rows = {
      {"accuracy", kMap, kRequiredOfText, "", ""},
      Shown({"accuracy.ppl", kNumber, kOptional, "",
             "exp of `mean_nll`; absent (as every other exponential) where no double holds it, "
             "printed `>1e308`",
             kSum},
            {.name = "ppl",
             .header = "PPL",
             .interval = "accuracy.ppl_ci95",
             .samples = kNll,
             .digits = 4}),
      {"accuracy.ppl_ci95", kInterval, kOptional, "", "over windows", kSum},
      {"accuracy.mean_nll_se", kNumber, kOptional, "nats", "standard error over windows", kSum},
      Shown({"accuracy.mean_nll", kNumber, kWrittenOfText, "nats", "per scored token", kSum},
            {.name = "mean_nll", .header = "NLL (nats)", .samples = kNll, .digits = 4}),
      {"accuracy.mean_nll_independent_se", kNumber, kWrittenOfText, "nats",
       "standard error if tokens were independent", kSum},
      Shown({"accuracy.word_ppl", kNumber, kOptional, "",
             "exp of the NLL of the scored tokens over the words (separated by white space) that "
             "begin in them: of the text that was tokenized, which under `gptq-N` has more line "
             "ends than the file",
             kSum},
            {.name = "word_ppl", .header = "word PPL", .samples = kNll}),
      Shown({"accuracy.bits_per_byte", kNumber, kOptional, "bits",
             "their NLL over their bytes of that text", kSum},
            {.name = "bits_per_byte", .header = "bits/byte", .samples = kNll, .digits = 4}),
  };
  return rows;
}

const Rows& Changes() {
  static const Rows rows = {
      {"accuracy.reference", kText, kOptional, "",
       "what the reference is called; `fp16` where older records do not say"},
      {"accuracy.reference_ppl", kNumber, kOptional, "", "of the reference on the same windows",
       kSum},
      {"accuracy.reference_mean_nll", kNumber, kOptional, "nats", "likewise", kSum},
      Shown({"accuracy.delta_nll", kNumber, kOptional, "nats",
             "mean NLL minus the reference's, paired", kSum},
            {.name = "delta_nll",
             .header = "ΔNLL (nats)",
             .interval = "accuracy.delta_nll_ci95",
             .samples = kNll,
             .digits = 4,
             .is_signed = true}),
      {"accuracy.delta_nll_independent_se", kNumber, kOptional, "nats",
       "standard error if tokens were independent", kSum},
      Shown({"accuracy.ppl_ratio", kNumber, kOptional, "", "exp of `delta_nll`", kSum},
            {.name = "delta_ppl",
             .header = "ΔPPL (%)",
             .interval = "accuracy.ppl_ratio_ci95",
             .samples = kNll,
             .digits = 3,
             .is_signed = true,
             .factor = 100,
             .offset = -1}),
      {"accuracy.delta_nll_ci95", kInterval, kOptional, "nats", "over windows", kSum},
      {"accuracy.delta_nll_se", kNumber, kOptional, "nats", "standard error over windows", kSum},
      {"accuracy.ppl_ratio_ci95", kInterval, kOptional, "", "over windows", kSum},
      {"accuracy.minimum_detectable_delta_nll", kNumber, kOptional, "nats",
       "the true difference that a 5 % test on this text finds with 80 % power", kSum},
  };
  return rows;
}

// Over the whole vocabulary.
const Rows& Divergences() {
  static const Rows rows = {
      Shown({"accuracy.kl_mean", kNumber, kOptional, "nats",
             "KL(reference \\|\\| cell) a position, over the whole vocabulary", kSum},
            {.name = "kl_mean",
             .header = "KL (nats)",
             .interval = "accuracy.kl_ci95",
             .samples = kKl,
             .digits = 5}),
      {"accuracy.kl_independent_se", kNumber, kOptional, "nats",
       "standard error if tokens were independent", kSum},
      {"accuracy.kl_ci95", kInterval, kOptional, "nats", "over windows", kSum},
      {"accuracy.kl_p50", kNumber, kOptional, "nats", "the median over positions"},
      {"accuracy.kl_p90", kNumber, kOptional, "nats", "quantiles"},
      Shown({"accuracy.kl_p99", kNumber, kOptional, "nats", "likewise"},
            {.name = "kl_p99", .header = "KL, 99th percentile (nats)", .digits = 3}),
      {"accuracy.kl_p999", kNumber, kOptional, "nats", "likewise"},
      Shown({"accuracy.kl_max", kNumber, kOptional, "nats", "the largest"},
            {.name = "kl_max", .header = "KL, largest (nats)"}),
      Shown({"accuracy.top1_agreement", kNumber, kOptional, "",
             "share of positions with the same most likely token", kSum},
            {.name = "top1",
             .header = "same top-1 (%)",
             .interval = "accuracy.top1_ci95",
             .samples = kSameTop,
             .larger_is_better = true,
             .factor = 100}),
      {"accuracy.top1_ci95", kInterval, kOptional, "", "over windows", kSum},
      {"accuracy.top1_independent_se", kNumber, kOptional, "",
       "standard error if tokens were independent", kSum},
      {"accuracy.probability_change_mean", kNumber, kOptional, "",
       "of the true token: cell minus reference"},
      {"accuracy.probability_change_rms", kNumber, kOptional, "", "root of the mean square"},
  };
  return rows;
}

const Rows& Windows() {
  static const Rows rows = {
      {"accuracy.against", kMaps, kOptional, "", "each other quantized cell of the run"},
      {"accuracy.against[].config", kText, kWritten, "", "of the other"},
      {"accuracy.against[].method", kText, kWritten, "", "of the other"},
      {"accuracy.against[].delta_nll", kNumber, kWritten, "nats", "mean NLL of this minus that"},
      {"accuracy.against[].delta_nll_ci95", kInterval, kWritten, "nats", "over windows"},
      {"accuracy.window_nll", kNumbers, kRequiredOfText, "nats",
       "sum over each measured window's scored positions", Role::kSample},
      {"accuracy.reference_window_nll", kNumbers, kOptional, "nats",
       "of the reference; absent in its own record", Role::kSample},
      {"accuracy.window_kl", kNumbers, kOptional, "nats", "likewise", Role::kSample},
      {"accuracy.window_same_top", kNumbers, kOptional, "",
       "positions with the same most likely token", Role::kSample},
      {"hashes", kMap, kRequiredOfText, "", ""},
      {"hashes.packed_weights", kText, kOptional, "",
       "SHA-256 over every quantized matrix, the norms, what else a transform changed, and how "
       "activations are rounded; absent for the reference",
       0, Stage::kPackedWeights},
      {"hashes.first_window_logits", kText, kRequiredOfComplete, "",
       "of the cell's logits in the text's first window, or the first of a stop rule's order", 0,
       Stage::kLogits},
  };
  return rows;
}

const Rows& Layers() {
  static const Rows rows = {
      {"outlier_channels", kMap, kOptional, "",
       "input channels that `quantize.activations.outlier_threshold` takes out of the integer "
       "products, found in each measured window; absent where it takes none"},
      Shown({"outlier_channels.share", kNumber, kWritten, "",
             "of all, on average over windows and quantized matrices"},
            {.name = "outlier_share", .header = "outlier channels (%)", .factor = 100}),
      {"outlier_channels.share_max", kNumber, kWritten, "",
       "of the window and matrix that have most"},
      {"layers", kMaps, kOptional, "", "each quantized matrix, in the model's order"},
      {"layers[].name", kText, kRequired, "", "of the matrix"},
      {"layers[].method", kText, kWritten, "", "the rounder whose codes it has"},
      Stamped({"layers[].asked", kText, kOptional, "",
               "the cell's, where that is another (an embedding is looked up: `gptq` has no inputs "
               "to go by and leaves it to `rtn`; a tied head shares its fate)"},
              {'O', "a matrix has the codes of another method than was asked for"}),
      {"layers[].scheme", kText, kWritten, "", "as `scheme.name`"},
      {"layers[].bits", kNumber, kWritten, "bits",
       "stored per weight, FP16 weights that are kept for outliers included"},
      {"layers[].packed_sha256", kText, kWritten, "", "of the packed matrix"},
      {"layers[].weight_mse", kNumber, kWritten, "",
       "against the weights that the transforms left"},
      {"layers[].output_mse", kNumber, kOptional, "",
       "on the first tokens of the first 16 calibration samples, 2048 in all at most, activations "
       "rounded as planned; absent without calibration"},
      {"layers[].output_error", kNumber, kOptional, "", "that over the mean square of the outputs"},
      {"layers[].scale_range", kInterval, kWritten, "", "the smallest and the largest scale"},
      {"layers[].clipped_share", kNumber, kWritten, "",
       "weights more than half a step beyond their grid's ends"},
      {"layers[].outlier_share", kNumber, kOptional, "",
       "of its input channels, those that `outlier_channels` speaks of, on average over windows"},
      {"layers[].outlier_share_max", kNumber, kOptional, "", "likewise, of the window with most"},
      {"layers[].note", kText, kOptional, "",
       "what methods decided, and the power of two of scales that FP16 alone would lose"},
      {"layers[].seconds", kNumber, kWritten, "s", "of the rounder", Role::kMoment},
  };
  return rows;
}

}  // namespace

Rows AccuracyFields() {
  Rows all;
  const Rows kept_logits = KeptLogitsFields();
  for (const Rows* part :
       {&Perplexities(), &Changes(), &Divergences(), &kept_logits, &Windows(), &Layers()})
    all.insert(all.end(), part->begin(), part->end());
  return all;
}

}  // namespace quantref
