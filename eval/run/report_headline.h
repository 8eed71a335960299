#pragma once

#include <optional>
#include <string>

#include "eval/run/record.h"

namespace quantref {

// What the cells of a table were measured on, as the line above it says.
struct MeasuredOn {
  std::string model, text, protocol;
  std::optional<OutlierSpec> outliers{};  // that the model was given
  size_t windows = 0, scored = 0;         // none of random weights, which have speed alone
  size_t all_windows = 0;                 // of the text
  bool stopped_early = false;             // by the config's stop rule
  std::string notice{};                   // of a text that stands in for another
  Environment environment{};
};

MeasuredOn DescribeGroup(const GroupResult& group);

std::string HeadlineText(const MeasuredOn& on);

}  // namespace quantref
