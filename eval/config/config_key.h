#pragma once

#include <cstddef>
#include <limits>
#include <string>
#include <vector>

namespace quantref {

// A key of configs, as data.
struct ConfigKey {
  enum class Kind { kText, kChoice, kFlag, kCount, kNumber, kMaps };
  // Dotted: "quantize.weights.bits". "[]" stands behind the name of a list of maps:
  // "quantize.overrides[].match".
  std::string name;
  Kind kind = Kind::kText;
  std::string otherwise{};  // the default as YAML; "": none, or that of another key
  bool required = false;    // in its map
  std::string about{};      // one line
  double least = 0, most = std::numeric_limits<double>::infinity();  // of counts and numbers
  bool above_least = false;                                          // `least` itself is not valid
  std::string unit{};                                                // "nats", "tokens"
  // Of a choice: all. Of another kind: words that may stand in the place of a value or of the keys
  // below this one.
  std::vector<std::string> words{};
  bool list = false;   // a list of such values, or one of them
  bool swept = false;  // a list makes the config a study (sweep.h says which)

  std::string Values() const;  // "2 to 8", "kernel, simulated", "true, false"
};

inline constexpr double kMostSeed = 9223372036854775807.0;

// Such a bound as a whole number: up to 2^63-1, which a double rounds.
size_t CountLimit(double bound);

}  // namespace quantref
