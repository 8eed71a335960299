#pragma once

#include <map>
#include <string>
#include <vector>

#include "eval/compare/cells.h"

namespace quantref {

using ComparedCells = std::vector<const ComparedCell*>;

// What each cell's model is called; where others of its name have other weights, with its own.
class ModelNames {
 public:
  explicit ModelNames(const ComparedCells& cells);

  const std::string& Of(const ComparedCell& cell) const { return names_.at(cell.cell().Model()); }
  bool Several() const { return several_; }

 private:
  std::map<std::string, std::string> names_;  // by what the model is
  bool several_ = false;
};

}  // namespace quantref
