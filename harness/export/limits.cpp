#include "harness/export/limits.h"

#include <fmt/format.h>

#include "harness/model/layout.h"
#include "harness/quant/format.h"

namespace quantref {

std::string WhyNotWeightsAlone(const CellToExport& cell) {
  if (!cell.activations) return "";
  return fmt::format("holds weights alone, and activations are rounded ({})",
                     ActivationName(*cell.activations));
}

std::string WhyNothing(const CellToExport& cell) {
  return QuantizesAny(cell.plan) ? "" : "is of quantized matrices, and the cell has none";
}

std::string WhyNotInteger(const PlannedLinear& linear) {
  const NumberFormat& format = *linear.scheme->format;
  return format.affine() ? ""
                         : fmt::format("has evenly spaced codes alone, and no {}", format.name);
}

std::string WhyNotMultiplied(const PlannedLinear& linear) {
  return linear.shape.name == kEmbeddingName ? "does not quantize embeddings" : "";
}

std::string WhyNotRowsOrGroups(const PlannedLinear& linear) {
  const WeightScheme& scheme = *linear.scheme;
  if (scheme.granularity == Granularity::kColumn) return "has no scales that go by column";
  if (scheme.granularity != Granularity::kGroup || linear.shape.cols % scheme.group == 0) return "";
  return fmt::format("has whole groups alone, and {} does not divide {} inputs", scheme.group,
                     linear.shape.cols);
}

std::string WhyOrdered(const CellToExport& cell, const PlannedLinear& linear) {
  if (!cell.Reorders(linear)) return "";
  const std::string_view remedy =
      cell.remedies.reorders ? cell.remedies.reorders(linear) : std::string_view();
  return WithRemedy("has no order of columns, and the method chooses one", remedy,
                    "keeps them in place");
}

std::string WithRemedy(std::string_view why, std::string_view remedy, std::string_view does) {
  return remedy.empty() ? std::string(why) : fmt::format("{} ({} {})", why, remedy, does);
}

}  // namespace quantref
