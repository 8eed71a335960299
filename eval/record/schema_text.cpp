#include <string>

#include "eval/record/schema_rows.h"

namespace quantref {
namespace {

using enum FieldType;
using enum Presence;
using Rows = std::vector<RecordField>;

constexpr FieldStamp kSampleStoodIn = {'N', "NOT WIKITEXT: the bundled text stood in"};

const Rows& TextRows() {
  static const Rows rows = {
      {"dataset", kMap, kRequiredOfText, "", ""},
      Named({"dataset.name", kText, kWrittenOfText, "", "of a file of one's own its last part",
             Role::kPlace},
            "dataset"),
      {"dataset.split", kText, kOptional, "", "absent where there is none"},
      {"dataset.sha256", kText, kRequiredOfText, "", "of the file", Role::kKnown, Stage::kText},
      Stamped({"dataset.substituted_sample", kFlag, kOptional, "",
               "`true` where the bundled text stood in"},
              kSampleStoodIn),
  };
  return rows;
}

const Rows& ProtocolRows() {
  static const Rows rows = {
      {"protocol", kMap, kRequiredOfText, "", ""},
      Named({"protocol.name", kText, kRequiredOfText, "", "with the window that was really read"},
            "protocol"),
      {"protocol.window", kCount, kWrittenOfText, "tokens", "of a window"},
      {"protocol.bos", kFlag, kWrittenOfText, "", "whether it was put", Role::kAsked},
      {"protocol.tokens", kCount, kWrittenOfText, "tokens", "of the text"},
      {"protocol.windows", kCount, kRequiredOfText, "", "measured"},
      {"protocol.scored", kCount, kWrittenOfText, "tokens", "predicted in them"},
      {"protocol.token_sha256", kText, kRequiredOfText, "", "of the ids as little-endian uint32",
       Role::kIdentity | Role::kKnown, Stage::kTokens},
      {"protocol.window_scored", kCounts, kRequiredOfText, "tokens", "predicted, of each window"},
      {"protocol.unknown_share", kNumber, kWrittenOfText, "",
       "share of the measured windows' tokens that are the tokenizer's unknown token"},
      {"protocol.unknown_bytes_share", kNumber, kWrittenOfText, "",
       "of their text for which these stand"},
      Stamped(
          {"protocol.too_much_unknown", kFlag, kOptional, "", "`true` where either is above 1 %"},
          {'U', "UNKNOWN TOKENS: more than 1 % of the text"}),
      Stamped({"protocol.cut_from_windows", kCount, kOptional, "",
               "where not all windows were measured: of how many"},
              {'P', "partial: not all windows"}),
      {"protocol.stopped_early", kFlag, kOptional, "",
       "there: by `accuracy.stop`, else by `--windows` or an interrupt", Role::kAsked},
      {"protocol.window_index", kCounts, kOptional, "",
       "there: the places of the measured windows in the text, rising"},
      Stamped({"protocol.interrupted", kFlag, kOptional, "",
               "`true` where a signal ended the run before all that it was to measure was measured",
               Role::kAsked},
              {'I', "INTERRUPTED: what was measured until then"}),
      {"protocol.journal", kText, kOptional, "",
       "there, but not of a first look: the journal with which `--resume` goes on", Role::kAsked},
  };
  return rows;
}

// A section of samples, with the text that they were drawn from, and the section's other rows.
Rows SampleRows(const std::string& section, const std::string& about, const Rows& rest) {
  Rows rows = {
      {section, kMap, kOptional, "", about},
      {section + ".dataset", kText, kWritten, "", "as `dataset.name`", Role::kPlace},
      {section + ".split", kText, kOptional, "", "absent where there is none"},
      {section + ".sha256", kText, kWritten, "", "of the file"},
      Stamped({section + ".substituted_sample", kFlag, kOptional, "",
               "`true` where the bundled text stood in"},
              kSampleStoodIn),
  };
  rows.insert(rows.end(), rest.begin(), rest.end());
  return rows;
}

const Rows& CalibrationRows() {
  static const Rows rows = {
      {"calibration.samples", kCount, kWritten, "",
       "that were read (of the layer report alone 16 at most)"},
      {"calibration.length", kCount, kWritten, "tokens",
       "of a sample (of the layer report alone as many as make 2048 of all, at most)"},
      {"calibration.cut_from_samples", kCount, kOptional, "",
       "what was asked for where the text is shorter"},
      {"calibration.cut_from_length", kCount, kOptional, "tokens",
       "what was asked for where text or context are shorter"},
      {"calibration.text_tokens", kCount, kWritten, "tokens", "that there are"},
      {"calibration.distinct_tokens", kCount, kWritten, "tokens", "of them that some sample holds"},
      Named({"calibration.seed", kCount, kWritten, "", "of the samples' places"}, "seed"),
      {"calibration.sequential", kFlag, kWritten, "",
       "each block was calibrated on the outputs of the quantized blocks before it"},
      {"calibration.token_sha256", kText, kWritten, "", "of these samples' ids", Role::kKnown,
       Stage::kCalibration},
      {"calibration.unknown_share", kNumber, kWritten, "", "as in `protocol`, of the samples"},
      {"calibration.unknown_bytes_share", kNumber, kWritten, "", "likewise"},
      Stamped({"calibration.too_much_unknown", kFlag, kOptional, "", "likewise"},
              {'U', "UNKNOWN TOKENS: more than 1 % of the calibration text"}),
      {"calibration.overlap_with_test", kNumber, kWritten, "",
       "share of the runs of 50 characters (white space left out) in the measured windows that the "
       "samples hold too"},
      {"calibration.is_test_text", kFlag, kOptional, "",
       "`true` where it is the same text, white space apart, or the same split"},
      Stamped({"calibration.contaminated", kFlag, kOptional, "",
               "`true` there, and above 1 % of overlap"},
              {'C', "CONTAMINATED calibration"}),
      {"calibration.used_by", kText, kRequired, "", "`method`, or `layer report` alone"},
      {"calibration.report_tokens", kCount, kWritten, "",
       "so many of these tokens, the first of each of the first samples, the output errors in "
       "`layers` are of"},
      {"calibration.seeds", kMap, kOptional, "", "with several"},
      {"calibration.seeds.seeds", kCounts, kRequired, "", "all of them"},
      {"calibration.seeds.ppl", kNumbers, kOptional, "", "of each", Role::kSample},
      {"calibration.seeds.ppl_mean", kNumber, kOptional, "", "over them", Role::kAggregate},
      {"calibration.seeds.ppl_sd", kNumber, kOptional, "", "standard deviation (n - 1)",
       Role::kAggregate},
  };
  return rows;
}

const Rows& FinetuneRows() {
  static const Rows rows = {
      {"finetune.steps", kCount, kWritten, "", "of AdamW"},
      {"finetune.batch", kCount, kWritten, "", "windows a step"},
      {"finetune.length", kCount, kWritten, "tokens", "of a window"},
      {"finetune.cut_from_length", kCount, kOptional, "tokens",
       "what was asked for where the context is shorter"},
      {"finetune.loss", kText, kWritten, "", "`kl` to the reference, or `ce`: of the text"},
      {"finetune.scales", kText, kOptional, "",
       "`learned`: those of the rounded weights were trained; absent: chosen anew each step"},
      {"finetune.seed", kCount, kWritten, "", "of the windows' places"},
      {"finetune.text_tokens", kCount, kWritten, "tokens", "that there are"},
      {"finetune.distinct_tokens", kCount, kWritten, "tokens", "of them that some window holds"},
      {"finetune.token_sha256", kText, kWritten, "", "of the windows' ids", Role::kKnown,
       Stage::kCalibration},
      {"finetune.unknown_share", kNumber, kWritten, "", "as in `protocol`, of the windows"},
      {"finetune.unknown_bytes_share", kNumber, kWritten, "", "likewise"},
      Stamped({"finetune.too_much_unknown", kFlag, kOptional, "", "likewise"},
              {'U', "UNKNOWN TOKENS: more than 1 % of the training text"}),
      {"finetune.overlap_with_test", kNumber, kWritten, "", "as in `calibration`"},
      {"finetune.is_test_text", kFlag, kOptional, "", "likewise"},
      Stamped({"finetune.contaminated", kFlag, kOptional, "", "likewise"},
              {'T', "CONTAMINATED training"}),
      {"finetune.losses", kNumbers, kWritten, "nats", "of each step's windows, before it",
       Role::kSample},
  };
  return rows;
}

const Rows& BudgetRows() {
  static const Rows rows = {
      {"budget", kMap, kOptional, "",
       "where the bits of each matrix were chosen under a total; the first keys mean what they "
       "mean in a config"},
      {"budget.rule", kText, kWritten, "", "`sensitivity`, `uniform` or `random`"},
      {"budget.bits", kNumber, kWritten, "bits", "stored a weight at most, of these matrices"},
      {"budget.choices", kCounts, kWritten, "bits", "of a code"},
      {"budget.average_bits", kNumber, kWritten, "bits",
       "stored a weight by the plan, scales and zero points included; what a method stores beside "
       "them (`effective_bits` says what) is not counted"},
      {"budget.uniform_bits", kCount, kWritten, "bits",
       "the highest choice that all matrices can have under the budget"},
      {"budget.uniform_average_bits", kNumber, kWritten, "bits", "what that stores a weight"},
      {"budget.seed", kCount, kOptional, "", "of the windows, or of what was drawn"},
      {"budget.kl_sum", kNumber, kOptional, "nats",
       "the sum of what `matrices[].kl` says for the plan; what the plan was chosen by, and no "
       "figure of the cell",
       Role::kAggregate},
      {"budget.uniform_kl_sum", kNumber, kOptional, "nats", "likewise, with `uniform_bits` for all",
       Role::kAggregate},
  };
  return rows;
}

const Rows& BudgetTextRows() {
  static const Rows rows = {
      {"budget.calibration.samples", kCount, kWritten, "", "by which sensitivities were measured"},
      {"budget.calibration.length", kCount, kWritten, "tokens", "of a sample"},
      {"budget.calibration.cut_from_samples", kCount, kOptional, "",
       "what was asked for where the text is shorter"},
      {"budget.calibration.cut_from_length", kCount, kOptional, "tokens",
       "what was asked for where the context is shorter"},
      {"budget.calibration.text_tokens", kCount, kWritten, "tokens", "that there are"},
      {"budget.calibration.distinct_tokens", kCount, kWritten, "tokens",
       "of them that some sample holds"},
      {"budget.calibration.token_sha256", kText, kWritten, "", "of the samples' ids", Role::kKnown,
       Stage::kCalibration},
      {"budget.calibration.unknown_share", kNumber, kWritten, "",
       "as in `protocol`, of the samples"},
      {"budget.calibration.unknown_bytes_share", kNumber, kWritten, "", "likewise"},
      Stamped({"budget.calibration.too_much_unknown", kFlag, kOptional, "", "likewise"},
              {'U', "UNKNOWN TOKENS: more than 1 % of the calibration text"}),
      {"budget.calibration.overlap_with_test", kNumber, kWritten, "", "as in `calibration`"},
      {"budget.calibration.is_test_text", kFlag, kOptional, "", "likewise"},
      Stamped({"budget.calibration.contaminated", kFlag, kOptional, "", "likewise"},
              {'A', "CONTAMINATED allotment of bits"}),
  };
  return rows;
}

const Rows& BudgetPlanRows() {
  static const Rows rows = {
      {"budget.overrides", kMaps, kWritten, "",
       "the plan, behind the config's own `overrides`: it can be pasted there"},
      {"budget.overrides[].match", kText, kRequired, "", "as in a config"},
      {"budget.overrides[].bits", kCount, kRequired, "bits", "of a code"},
      {"budget.overrides[].granularity", kText, kOptional, "",
       "this and what follows: as an override of the config has it for the matrix"},
      {"budget.overrides[].group", kCount, kOptional, "weights", "likewise"},
      {"budget.overrides[].double_quant", kFlag, kOptional, "", "likewise"},
      {"budget.overrides[].symmetric", kFlag, kOptional, "", "likewise"},
      {"budget.overrides[].full_range", kFlag, kOptional, "", "likewise"},
      {"budget.overrides[].zero_in_range", kFlag, kOptional, "", "likewise"},
      {"budget.overrides[].method", kText, kOptional, "", "likewise"},
      {"budget.matrices", kMaps, kWritten, "", "under the budget, in the model's order"},
      {"budget.matrices[].name", kText, kRequired, "", "of the matrix"},
      {"budget.matrices[].bits", kCount, kRequired, "bits", "of a code, that it got"},
      {"budget.matrices[].kl", kNumbers, kOptional, "nats",
       "its sensitivity: mean KL(reference \\|\\| model) over the positions of the samples where it "
       "alone is rounded to nearest, with each of the choices",
       Role::kSample},
  };
  return rows;
}

}  // namespace

Rows TextFields() {
  Rows all = TextRows();
  for (const Rows& part :
       {ProtocolRows(),
        SampleRows("calibration", "absent where nothing was read", CalibrationRows()),
        SampleRows("finetune", "where the cell was trained", FinetuneRows()), BudgetRows(),
        SampleRows("budget.calibration", "of rule `sensitivity`: the text that chose",
                   BudgetTextRows()),
        BudgetPlanRows()})
    all.insert(all.end(), part.begin(), part.end());
  return all;
}

}  // namespace quantref
