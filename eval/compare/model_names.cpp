#include "eval/compare/model_names.h"

#include <set>
#include <utility>

#include "eval/record/change.h"

namespace quantref {

ModelNames::ModelNames(const ComparedCells& cells) {
  const auto record_of = [](const ComparedCell* cell) -> const StoredRecord& {
    return *(cell->candidate != nullptr ? cell->candidate : cell->baseline);
  };
  std::map<std::string, std::set<std::string>> weights;  // by name
  for (const ComparedCell* cell : cells) {
    const StoredRecord& record = record_of(cell);
    weights[record.cell.model].insert(record.Fact("model.sha256"));
  }
  std::set<std::string> distinct;
  for (const ComparedCell* cell : cells) {
    const StoredRecord& record = record_of(cell);
    std::string name = record.cell.model;
    if (weights[name].size() > 1) name += " " + ShortHash(record.Fact("model.sha256"));
    distinct.insert(name);
    names_.try_emplace(record.cell.Model(), std::move(name));
  }
  several_ = distinct.size() > 1;
}

}  // namespace quantref
