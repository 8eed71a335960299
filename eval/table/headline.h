#pragma once

#include <cstddef>
#include <string>

namespace quantref {

// What cells were measured on, as the line above their table says it.
struct MeasuredOn {
  std::string model, text, protocol;
  std::string outliers{};          // OutliersText of those that the model was given
  size_t windows = 0, scored = 0;  // none of random weights, which have speed alone
  std::string notice{};            // StampLines of the text
  size_t threads = 0;
  std::string isa{}, blas{};
};

// " with outliers x20 in 1.0 % of channels".
std::string OutliersText(double scale, double channels);

// "wikilm-28m · wikitext-2 test · gptq-2048 · 177 windows, 362,319 scored tokens · 2 threads, avx2,
// OpenBLAS 0.3.21", and the notice below it.
std::string HeadlineText(const MeasuredOn& on);

}  // namespace quantref
