#pragma once

#include <compare>
#include <cstddef>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "eval/record/stamps.h"
#include "eval/record/stored_speed.h"
#include "harness/io/json_reader.h"

namespace quantref {

// Records as files have them, read back. No byte is trusted: whatever is no record that
// results/README.md describes gives an Error with file, field, what was expected and what was
// found.

// What makes two records measurements of the same thing. A model is what its hashes say, wherever
// it lay and whatever it was called.
struct CellName {
  std::string config, method, model, protocol;
  std::optional<size_t> seed{};  // of the calibration, where the config has several
  bool reference = false;        // one cell of a config, whatever its type is called

  // Hashes of weights and tokenizer, dtype and outliers; "": of random weights, which their name
  // alone tells apart.
  std::string identity{};

  const std::string& Model() const { return identity.empty() ? model : identity; }
  std::strong_ordering operator<=>(const CellName& other) const;
  bool operator==(const CellName& other) const { return (*this <=> other) == 0; }
  std::string Text() const;  // "int4_g128 gptq seed=5", without model and protocol
};

// A quantized matrix; of records that say it.
struct StoredMatrix {
  std::string name, packed_sha256;
};

// By dotted path.
using Facts = std::map<std::string, std::string, std::less<>>;

struct StoredRecord {
  std::filesystem::path file;
  std::string id, created;
  CellName cell;
  // Values by their dotted path in the record, of all RecordField::IsFact: text as it is, anything
  // else as JSON. What the record does not have is not here; neither is the calibration text of a
  // method that read none.
  Facts facts;
  std::string resolved;  // config.resolved, as JSON
  std::vector<Stamp> stamps;
  // Of each measured window: its place in the text, scored positions, and NLL sums over them.
  std::vector<size_t> window_index;
  // None of a synthetic model, which has no accuracy.
  std::vector<double> window_scored, window_nll, reference_window_nll;
  std::optional<StoredSpeed> speed{};    // nothing where nothing was timed
  std::vector<StoredMatrix> matrices{};  // in the model's order; none of older records
  // Wall time of quantizing and measuring the cell, and of timing all cells of its run.
  double accuracy_seconds = 0, speed_seconds = 0;

  // The fact, or "none". `path` must be one that is kept.
  const std::string& Fact(std::string_view path) const;
  bool Interrupted() const { return Fact("protocol.interrupted") == "true"; }
  bool HasAccuracy() const { return !window_nll.empty(); }
  double MeanNll() const;  // of a record that has accuracy
};

// By time; of the same second by id, so that the order is the same everywhere. One of an
// interrupted run is older than any complete one: it never stands in the place of that.
bool IsNewer(const StoredRecord& a, const StoredRecord& b);
// By cell, the newest of a cell first.
bool IsBefore(const StoredRecord& a, const StoredRecord& b);

StoredRecord ReadRecord(const std::filesystem::path& file);
// The same, where the file has been parsed already.
StoredRecord ReadRecord(JsonValue json, const std::filesystem::path& file);

// The newest record of each cell, in the order of their names.
struct RecordSet {
  std::filesystem::path path;
  bool is_set;  // a folder or a baseline, not one record
  std::vector<StoredRecord> records;
  size_t passed_over = 0;  // older ones of the same cells
};

// Of a file that holds a record or, as baselines do, a list of them; or of a folder and its
// subfolders: every file there that has a record's name (support/files.h) and is in no hidden
// folder. Error where there is none.
RecordSet ReadRecords(const std::filesystem::path& path, size_t threads);

// Of records that were read already; `path` is what the set is called.
RecordSet NewestRecords(std::vector<StoredRecord> all, const std::filesystem::path& path);

}  // namespace quantref
