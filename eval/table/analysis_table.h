#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace quantref {

// What an analysis (analysis.h) makes of records, before it has a format.
struct AnalysisTable {
  std::vector<std::string> header{};
  size_t names = 1;  // the first columns say what a row is of, the others are figures
  std::vector<std::vector<std::string>> rows{};  // each as long as the header
  std::vector<std::string> notes{};              // how it is to be read: sentences
  std::vector<std::string> answers{};            // what it says, in a line each: "**ask?** answer"
};

}  // namespace quantref
