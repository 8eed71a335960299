#include "eval/support/figure_text.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

namespace quantref {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST_CASE("figures: fixed, with an exponent, and what no double holds") {
  CHECK(FigureText(15.3279, 2) == "15.33");
  CHECK(FigureText(9999999.5, 1) == "9999999.5");
  CHECK(FigureText(1.23456e170, 4) == "1.235e+170");
  CHECK(FigureText(std::exp(812.0), 4) == ">1e308");
  CHECK(FigureText(5.354, 2, true) == "+5.35");
  CHECK(FigureText(-3e12, 2, true) == "-3.000e+12");
  CHECK(FigureText(3e12, 2, true) == "+3.000e+12");
  CHECK(FigureText(-1e-9, 2) == "0.00");
  CHECK(FigureText(-1e-9, 2, true) == "+0.00");
  CHECK(FigureText(-0.5, 0) == "0");
}

TEST_CASE("figures: ± only where both ends lie about as far from the value") {
  CHECK(WithInterval({15.33, 14.9, 15.76}, 4, false) == "15.33 ± 0.43");
  CHECK_FALSE(IsLopsided({15.33, 14.9, 15.76}));
  CHECK_FALSE(IsLopsided({15.33}));
  CHECK_FALSE(IsLopsided({2, 2, 2}));
  // Ends 1.1 and 12.9 apart are no ± 7.0.
  CHECK(IsLopsided({79.5, 78.4, 92.4}));
  CHECK(WithInterval({79.5, 78.4, 92.4}, 4, true) == "79.5 [78.4, 92.4]");
  CHECK(WithInterval({79.5}, 4, true) == "79.5000");
  CHECK(IsLopsided({1e300, 1e200, kInfinity}));
  CHECK(WithInterval({kInfinity, kInfinity, kInfinity}, 4, true) == ">1e308");
  CHECK(WithInterval({1e300, 1e200, kInfinity}, 4, true) == "1.000e+300 [1.000e+200, >1e308]");
}

TEST_CASE("figures: a column has one way of writing intervals") {
  const std::optional<Figure> even = Figure{10, 9, 11}, odd = Figure{10, 9.9, 12}, none;
  CHECK(FigureColumn(std::vector{even, none}, 1, " %") ==
        std::vector<std::string>{"10.0 ± 1.0 %", "-"});
  CHECK(FigureColumn(std::vector{even, odd}, 1) ==
        std::vector<std::string>{"10.0 [9.0, 11.0]", "10.0 [9.9, 12.0]"});
}

}  // namespace
}  // namespace quantref
