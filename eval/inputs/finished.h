#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "eval/config/run_config.h"
#include "eval/record/reader.h"

namespace quantref {

// A cell that a run is to measure, as its record would name it.
struct SoughtCell {
  CellName name;
  std::string resolved;  // RunConfig::Resolved
  // Of every field that a run knows before it measures (Role::kKnown), what a record of the cell
  // would say; those that it would not have are left out.
  Facts facts;
  // The windows that the run would measure, in its order; none of a model without text. A record
  // that the stop rule ended may have the first of them alone.
  std::vector<size_t> windows;
  std::string ledger{};  // LedgerOptions::Name of the run; "" where it asks for none
};

// What of this program and machine a record must have been made with, as SoughtCell::facts.
Facts OwnBuildAndMachine();

// A build of this program.
struct Program {
  std::string commit;           // "unknown" outside a checkout
  bool dirty = false;           // the tree differed from it
  std::string sha256 = "none";  // of its file, where that is known
};

// "" where the files' hashes or the commits tell that a record was made by this very program; else
// why they do not.
std::string WhyOtherProgram(const Program& of_record, const Program& own);

// A resolved config without the methods of other cells: what they are changes nothing of this one.
std::string OwnConfigText(const std::string& resolved, const std::string& method);

inline constexpr char kNoRecord[] = "no record";

// The records of a folder that need not be made once more: of a study, or of a run that is resumed.
class FinishedCells {
 public:
  // Reads the records of these configs there (not in subfolders); a folder that does not exist
  // holds none. What cannot be read as a record is passed over. `any_commit`: records of other
  // commits and of changed trees count, too.
  FinishedCells(const std::filesystem::path& folder, const std::vector<const RunConfig*>& configs,
                bool any_commit);

  // "" where a record of this very cell is there: of the same config (its other methods apart),
  // weights, tokens, calibration, windows, build and machine, through the gate between the paths.
  // Else why the newest record of that name does not count, or kNoRecord.
  std::string WhyUnfinished(const SoughtCell& cell) const;

 private:
  std::vector<StoredRecord> records_;  // newest first
  bool any_commit_;
};

}  // namespace quantref
