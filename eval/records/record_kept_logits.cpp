#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "eval/record/kept_logits.h"
#include "eval/records/record_parts.h"
#include "eval/stats/stats.h"

// What a record says of divergences from logits that were kept in some form.

namespace quantref {
namespace {

void PutMean(RecordJson& json, const char* mean, const char* ci95,
             const std::vector<BlockSum>& blocks) {
  json[mean] = BlockMean(blocks);
  if (const auto interval = MeanInterval(blocks))
    json[ci95] = RecordJson::array({interval->low, interval->high});
}

}  // namespace

void PutKeptLogits(RecordJson& accuracy, const MeasuredWindows& measured) {
  if (measured.scores.front()->kept_kl.empty()) return;
  for (size_t form = 0; form < kKeptLogitsForms.size(); ++form) {
    std::vector<BlockSum> kept, error;
    RecordJson sums = RecordJson::array();
    bool finite = true;
    for (size_t w = 0; w < measured.scores.size(); ++w) {
      const WindowScores& scores = *measured.scores[w];
      const double sum = scores.kept_kl[form];
      const auto count = static_cast<double>(measured.windows[w].scored());
      kept.push_back({sum, count});
      error.push_back({sum - scores.kl, count});
      sums.push_back(sum);
      finite = finite && std::isfinite(sum);
    }
    if (!finite) continue;
    RecordJson json;
    PutMean(json, "kl_mean", "kl_ci95", kept);
    PutMean(json, "error", "error_ci95", error);
    json["window_kl"] = sums;
    accuracy["kept_logits"][std::string(kKeptLogitsForms[form].name)] = json;
  }
}

}  // namespace quantref
