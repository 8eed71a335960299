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

size_t DigitsOf(const Figure& figure, size_t otherwise) {
  if (!figure.low || !figure.high) return otherwise;
  const std::optional<int> decimals = DecimalsOf((*figure.high - *figure.low) / 2);
  return decimals ? static_cast<size_t>(*decimals) : otherwise;
}

NumberText NumberTextOf(const Figure& figure, size_t digits, bool is_signed,
                        UncertaintyStyle style) {
  NumberText text{FigureText(figure.value, digits, is_signed)};
  const bool alone = !figure.low || !figure.high || std::isinf(figure.value);
  if (alone || style == UncertaintyStyle::kNone) return text;
  if (style == UncertaintyStyle::kPlusMinus) {
    text.half = FigureText((*figure.high - *figure.low) / 2, digits);
  } else {
    text.low = FigureText(*figure.low, digits, is_signed);
    text.high = FigureText(*figure.high, digits, is_signed);
  }
  return text;
}

std::string NumberWithInterval(const NumberText& number) {
  std::string text = number.value;
  if (number.half) text += " ± " + *number.half;
  if (number.low) text += fmt::format(" [{}, {}]", *number.low, *number.high);
  return text;
}

std::string WithInterval(const Figure& figure, size_t digits, bool brackets) {
  const auto style = brackets ? UncertaintyStyle::kInterval : UncertaintyStyle::kPlusMinus;
  return NumberWithInterval(NumberTextOf(figure, DigitsOf(figure, digits), false, style));
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
