#include "eval/table/results_candidates.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <vector>

#include "eval/record/note_text.h"
#include "eval/support/text_table.h"

namespace quantref {
namespace {

constexpr size_t kMostBlocks = 1 << 16;

bool IsCandidate(const RecordFields& fields) { return fields.Has("candidate.name"); }

// "130 Q4_K (4.50 bits), 17 Q6_K (6.56), 1 F16 (16.00)".
std::string StoredText(const RecordFields& fields) {
  std::vector<std::string> types;
  for (const RecordFields& type : fields.Maps("candidate.types")) {
    types.push_back(fmt::format("{} {} ({:.2f} bits)", type.Count("matrices"), type.Text("name"),
                                type.Number("bits")));
  }
  return fmt::format("{}", fmt::join(types, ", "));
}

// "", or that blocks differ in their bits.
std::string LayerText(const RecordFields& fields) {
  const std::vector<double> bits = fields.Positives("candidate.layer_bits", 0, kMostBlocks);
  if (bits.empty()) return "";
  const auto [least, most] = std::minmax_element(bits.begin(), bits.end());
  if (*most - *least < 0.005) return "";
  return fmt::format("; blocks of {:.2f} to {:.2f} bits", *least, *most);
}

std::string CandidateText(const RecordFields& fields, const std::string& label) {
  std::string text =
      fmt::format("{}: {}, {:.1f} MB on disk, {:.3f} bits a weight in all; matrices: {}{}\n", label,
                  fields.Text("candidate.format"), fields.NotNegative("candidate.disk_bytes") / 1e6,
                  fields.Number("model_effective_bits"), StoredText(fields), LayerText(fields));
  if (const size_t norms = fields.Count("candidate.changed_norms"); norms > 0) {
    text += fmt::format(
        "{}: {} changed beside the reference's, as by folded scales: no errors of its "
        "weights are given\n",
        label, Plural(norms, "norm"));
  }
  if (fields.Flag("candidate.decoded"))
    text += fmt::format("{}: its blocks are decoded when it is loaded: its speed is not measured\n",
                        label);
  for (const std::string& note : CandidateNotes(fields)) text += note + "\n";
  return text;
}

}  // namespace

std::string CandidateLines(const Results& results) {
  std::string text;
  for (const Result& result : results) {
    const RecordFields fields = result.Fields();
    if (IsCandidate(fields)) text += CandidateText(fields, result.Label());
  }
  return text;
}

std::string CandidateMatricesText(const Result& result, std::optional<size_t> width) {
  const RecordFields fields = result.Fields();
  if (!IsCandidate(fields)) return "";
  std::vector<TextColumn> columns = {
      {.name = "layer", .header = "layer", .left = true, .worth = TextColumn::kNeeded},
      {.name = "stored as", .header = "stored as", .left = true, .worth = 60},
      {.name = "bits", .header = "bits/weight", .worth = 60},
      {.name = "weight MSE", .header = "weight MSE", .worth = 50}};
  for (const RecordFields& matrix : fields.Maps("candidate.matrices")) {
    columns[0].cells.push_back(matrix.Text("name"));
    columns[1].cells.push_back(matrix.TextOr("type", "-"));
    columns[2].cells.push_back(fmt::format("{:.3f}", matrix.NumberOr("bits", 0)));
    columns[3].cells.push_back(
        matrix.Has("weight_mse") ? fmt::format("{:.3e}", matrix.Number("weight_mse")) : "-");
  }
  return fmt::format("\n{} {}\n{}", result.cell().config, result.Label(),
                     FitTable(std::move(columns), width).text);
}

}  // namespace quantref
