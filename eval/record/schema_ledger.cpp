#include <string>

#include "eval/record/schema_rows.h"

namespace quantref {
namespace {

using enum FieldType;
using enum Presence;
using Rows = std::vector<RecordField>;

constexpr unsigned kMeanOfWindows = Role::kAggregate;

const Rows& StepRows() {
  static const Rows rows = {
      {"ledger", kMap, kOptional, "", "of `--ledger`: where the change comes from"},
      {"ledger.request", kText, kWritten, "",
       "the text and the number of windows that `blocks` was asked for; `steps`: for none",
       Role::kAsked},
      {"ledger.parts", kMaps, kWritten, "",
       "nested runs through the windows of `protocol`, each with one thing more that is rounded, in "
       "their order; the last is the cell"},
      {"ledger.parts[].name", kText, kRequired, "",
       "`weights`: decoded, FP32 activations and products; `activations`: rounded, too; `kv_cache`: "
       "rounded, too; `kernels`: the integer kernels in the place of decoded weights"},
      {"ledger.parts[].delta_nll", kNumber, kWritten, "nats",
       "mean NLL minus that of the run before, of the first the reference's; paired",
       kMeanOfWindows},
      {"ledger.parts[].delta_nll_ci95", kInterval, kOptional, "nats", "over windows",
       kMeanOfWindows},
      {"ledger.parts[].window_nll", kNumbers, kWritten, "nats",
       "sums of the run, as `accuracy.window_nll`", Role::kSample},
      {"ledger.parts[].kl", kNumber, kOptional, "nats",
       "mean KL(reference \\|\\| run) minus that of the run before", kMeanOfWindows},
      {"ledger.parts[].kl_ci95", kInterval, kOptional, "nats", "over windows", kMeanOfWindows},
      {"ledger.parts[].window_kl", kNumbers, kOptional, "nats", "sums of the run", Role::kSample},
      {"ledger.delta_nll_residual", kNumber, kWritten, "nats",
       "`accuracy.delta_nll` minus the sum of the parts: what sums of doubles leave",
       kMeanOfWindows},
      {"ledger.kl_residual", kNumber, kOptional, "nats", "likewise, of `accuracy.kl_mean`",
       kMeanOfWindows},
  };
  return rows;
}

// The mean of a difference with its interval.
void AddMean(const std::string& path, Presence presence, const std::string& meaning, Rows& rows) {
  rows.push_back({path, kNumber, presence, "nats", meaning, kMeanOfWindows});
  rows.push_back({path + "_ci95", kInterval, kOptional, "nats", "over windows", kMeanOfWindows});
}

Rows BlockRows() {
  const std::string blocks = "ledger.blocks.", item = "ledger.blocks.items[].";
  Rows rows = {
      {"ledger.blocks_left_out", kText, kOptional, "", "why there is no `blocks`"},
      {"ledger.blocks", kMap, kOptional, "",
       "by blocks and kinds of matrices, each quantized alone and alone not"},
      {blocks + "dataset", kText, kWritten, "", "as `dataset.name`", Role::kPlace},
      {blocks + "split", kText, kOptional, "", "absent where there is none"},
      {blocks + "sha256", kText, kWritten, "", "of the file"},
      {blocks + "substituted_sample", kFlag, kOptional, "",
       "`true` where the bundled text stood in"},
      {blocks + "is_test_text", kFlag, kOptional, "",
       "`true` where it is the text that is measured: not for choosing"},
      {blocks + "token_sha256", kText, kWritten, "", "of the text's ids, read by `protocol`"},
      {blocks + "window_index", kCounts, kWritten, "", "the places of the windows in the text"},
      {blocks + "window_scored", kCounts, kWritten, "tokens", "predicted, of each window"},
      {blocks + "reference_window_nll", kNumbers, kWritten, "nats", "sums", Role::kSample},
      {blocks + "window_nll", kNumbers, kWritten, "nats", "sums of the cell", Role::kSample},
      {blocks + "window_kl", kNumbers, kOptional, "nats", "likewise", Role::kSample},
  };
  AddMean(blocks + "delta_nll", kWritten, "of the cell on these windows", rows);
  AddMean(blocks + "kl", kOptional, "likewise", rows);
  for (const std::string kind : {"block", "kind"}) {
    AddMean(blocks + kind + "_residual_delta_nll", kOptional,
            "that minus what the " + kind + "s and ends alone add up to", rows);
    AddMean(blocks + kind + "_residual_kl", kOptional, "likewise", rows);
  }
  rows.push_back({blocks + "items", kMaps, kWritten, "", "in the model's order"});
  rows.push_back({item + "name", kText, kRequired, "",
                  "`layers.3`, `mlp.down_proj`, `kv_cache`, `lm_head`; of a method that folds "
                  "scales from one matrix into another those that share them are one kind"});
  rows.push_back({item + "of", kText, kWritten, "",
                  "`block`, `kind`, or `end`: embedding and head, which both sums have"});
  AddMean(item + "alone_delta_nll", kWritten, "it alone is quantized: beside the reference", rows);
  AddMean(item + "alone_kl", kOptional, "likewise", rows);
  AddMean(item + "won_delta_nll", kWritten,
          "the cell minus the run in which all but it is quantized: what keeping it wins", rows);
  AddMean(item + "won_kl", kOptional, "likewise", rows);
  for (const std::string run : {"alone", "rest"}) {
    rows.push_back({item + run + "_window_nll", kNumbers, kWritten, "nats",
                    run == "alone" ? "sums of the first run" : "of the second", Role::kSample});
    rows.push_back(
        {item + run + "_window_kl", kNumbers, kOptional, "nats", "likewise", Role::kSample});
  }
  return rows;
}

}  // namespace

Rows LedgerFields() {
  Rows all = StepRows();
  const Rows blocks = BlockRows();
  all.insert(all.end(), blocks.begin(), blocks.end());
  return all;
}

}  // namespace quantref
