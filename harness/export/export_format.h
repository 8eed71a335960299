#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "harness/export/exported_cell.h"

namespace quantref {

// A format of checkpoints that other tools load, as one row of data. Layouts are those of the
// tools' own writers; each format's file says which.
struct ExportFormat {
  std::string_view name;   // as --export-format has it
  std::string_view about;  // one line
  // Why it cannot hold the cell as a whole, and one of its quantized matrices, to be read after its
  // name: "has no word for rounded activations"; "": it can.
  std::string (*why_not)(const CellToExport& cell);
  std::string (*why_not_matrix)(const CellToExport& cell, const PlannedLinear& linear);
  // Writes its files into the empty folder. Throws Error for what only the finished cell shows,
  // such as scales that the format's type does not hold.
  void (*write)(const FinishedCell& cell, const std::filesystem::path& folder);
};

}  // namespace quantref
