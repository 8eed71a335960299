#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "harness/export/export_format.h"
#include "harness/export/exported_cell.h"

namespace quantref {

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
