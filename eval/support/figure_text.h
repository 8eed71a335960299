#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

namespace quantref {

// Figures with their intervals, as every printer shows them.

// Fixed, with so many digits behind the point; from ten million on with an exponent; and ">1e308"
// for what no double holds, as the perplexity of more than 709 nats a token.
std::string FigureText(double value, size_t digits, bool is_signed = false);

// What is measured, with the ends of its interval where there is one.
struct Figure {
  double value = 0;
  std::optional<double> low{}, high{};
};

// Whether "value ± half the width" would misplace an end by more than a tenth of that half, or
// cannot be printed in full. Then only the ends say where the interval is.
bool IsLopsided(const Figure& figure);

// How many decimals an interval justifies: two digits of its half width; `otherwise` where it has
// none.
size_t DigitsOf(const Figure& figure, size_t otherwise);

enum class UncertaintyStyle { kPlusMinus, kInterval, kNone };

// A figure in its parts, in ASCII: "+3.04". half: "0.55", where that style has one; low and high in
// the style of intervals; the value alone where it has no interval, or none is wanted.
struct NumberText {
  std::string value;
  std::optional<std::string> half{}, low{}, high{};
};
NumberText NumberTextOf(const Figure& figure, size_t digits, bool is_signed,
                        UncertaintyStyle style);

// "15.74 ± 0.57", "+3.04 [2.91, 3.20]".
std::string NumberWithInterval(const NumberText& number);

// The same in one step, with the digits that the interval justifies.
std::string WithInterval(const Figure& figure, size_t digits, bool brackets);

// What stands in a column: brackets in all of its rows where the interval of one is lopsided; "-"
// for what is absent. `unit` follows each figure.
std::vector<std::string> FigureColumn(std::span<const std::optional<Figure>> figures, size_t digits,
                                      const std::string& unit = "");

}  // namespace quantref
