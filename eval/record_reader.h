#pragma once

#include <compare>
#include <cstddef>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace quantref {

// Records as files have them, read back. No byte is trusted: whatever is no record that
// results/README.md describes gives an Error with file, field, what was expected and what was
// found.

// What makes two records measurements of the same thing.
struct CellName {
  std::string config, method, model, protocol;
  std::optional<size_t> seed{};  // of the calibration, where the config has several

  auto operator<=>(const CellName&) const = default;
  std::string Text() const;  // "int4_g128 gptq seed=5", without model and protocol
};

struct StoredRecord {
  std::filesystem::path file;
  std::string id, created;
  CellName cell;
  // Values by their dotted path in the record: text as it is, anything else as JSON. What the
  // record does not have is not here; neither is the calibration text of a method that read none.
  std::map<std::string, std::string, std::less<>> facts;
  std::string resolved;             // config.resolved, as JSON
  std::vector<std::string> stamps;  // what every table must say of it
  // Of each measured window: its place in the text, scored positions, and NLL sums over them.
  std::vector<size_t> window_index;
  std::vector<double> window_scored, window_nll, reference_window_nll;

  // The fact, or "none". `path` must be one that ReadRecord keeps.
  const std::string& Fact(std::string_view path) const;
  double MeanNll() const;
};

StoredRecord ReadRecord(const std::filesystem::path& file);

// The newest record of each cell, in the order of their names.
struct RecordSet {
  std::filesystem::path path;
  bool is_folder;
  std::vector<StoredRecord> records;
  size_t passed_over = 0;  // older ones of the same cells
};

// Of a file, or of a folder and its subfolders: every *.json there that is not hidden nor in a
// hidden folder, but for those of synthetic models, which have no accuracy. Error where there is
// none.
RecordSet ReadRecords(const std::filesystem::path& path, size_t threads);

}  // namespace quantref
