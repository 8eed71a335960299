#pragma once

#include <filesystem>
#include <span>
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

std::span<const ExportFormat* const> ExportFormats();
const ExportFormat* FindExportFormat(std::string_view name);  // nullptr: there is none

// Throws Error, with the matrix and the reason and the formats that can, where this one cannot hold
// the cell to the last bit (those named `dequantized` round; their lines say how).
void CheckExportable(const ExportFormat& format, const CellToExport& cell);

// Writes a new folder, whole or not at all (io/whole_folder.h): the cell's weights with what a
// loader needs beside them. The folder that it lies in must be there.
void ExportCell(const ExportFormat& format, const FinishedCell& cell,
                const std::filesystem::path& folder);

// Whether the folder is an export in this format of a cell with these weights, with files as long
// as they were written.
bool IsExportOf(const std::filesystem::path& folder, const ExportFormat& format,
                const std::string& weights_sha256);

}  // namespace quantref
