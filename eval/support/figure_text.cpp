#include "eval/support/figure_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "eval/support/text_table.h"

namespace quantref {
namespace {

constexpr double kMostInFull = 1e7;

bool InFull(double value) { return std::abs(value) < kMostInFull; }

}  // namespace

std::string FigureText(double value, size_t digits, bool is_signed) {
  if (std::isinf(value)) return value > 0 ? ">1e308" : "<-1e308";
  if (!InFull(value)) return (is_signed && value > 0 ? "+" : "") + fmt::format("{:.3e}", value);
  std::string text =
      is_signed ? fmt::format("{:+.{}f}", value, digits) : fmt::format("{:.{}f}", value, digits);
  // Nothing is "-0.00".
  if (text[0] == '-' && text.find_first_not_of("-0.") == std::string::npos)
    text.replace(0, 1, is_signed ? "+" : "");
  return text;
}

bool IsLopsided(const Figure& figure) {
  if (!figure.low || !figure.high) return false;
  const double low = *figure.low, high = *figure.high;
  if (!InFull(low) || !InFull(high)) return true;
  return std::abs((low + high) / 2 - figure.value) > 0.1 * (high - low) / 2;
}

std::string WithInterval(const Figure& figure, size_t digits, bool brackets) {
  if (!figure.low || !figure.high || std::isinf(figure.value))
    return FigureText(figure.value, digits);
  const std::optional<int> decimals = DecimalsOf((*figure.high - *figure.low) / 2);
  if (decimals) digits = static_cast<size_t>(*decimals);
  const std::string value = FigureText(figure.value, digits);
  if (brackets) {
    return fmt::format("{} [{}, {}]", value, FigureText(*figure.low, digits),
                       FigureText(*figure.high, digits));
  }
  return fmt::format("{} ± {}", value, FigureText((*figure.high - *figure.low) / 2, digits));
}

std::vector<std::string> FigureColumn(std::span<const std::optional<Figure>> figures, size_t digits,
                                      const std::string& unit) {
  const bool brackets = std::any_of(
      figures.begin(), figures.end(),
      [](const std::optional<Figure>& figure) { return figure && IsLopsided(*figure); });
  std::vector<std::string> texts;
  for (const std::optional<Figure>& figure : figures)
    texts.push_back(figure ? WithInterval(*figure, digits, brackets) + unit : "-");
  return texts;
}

}  // namespace quantref
