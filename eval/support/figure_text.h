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

// "15.33 ± 0.41", or with brackets "15.33 [14.96, 15.78]"; the value alone where it has no
// interval.
std::string WithInterval(const Figure& figure, size_t digits, bool brackets);

// What stands in a column: brackets in all of its rows where the interval of one is lopsided; "-"
// for what is absent. `unit` follows each figure.
std::vector<std::string> FigureColumn(std::span<const std::optional<Figure>> figures, size_t digits,
                                      const std::string& unit = "");

}  // namespace quantref
