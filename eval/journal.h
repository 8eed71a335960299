#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "eval/accuracy.h"

namespace quantref {

// The windows of a run that are done, on disk, so that an interrupted run can go on. One file:
//   header   8 bytes "QRJRNL01", then a frame whose payload is the run's fingerprint
//   frames   uint32 payload bytes, uint32 CRC-32 of the payload, payload
//   payload  uint64 window, uint64 models, then each model's WindowScores (doubles; uint64 sizes
//   before kl_values
//            and logits_sha256)
// all little-endian. Frames are appended and synced one by one, so a crash, a kill or a full disk
// can only tear the last one: reading ends at the first frame that is short or whose sum is wrong,
// and writing goes on from there.
struct JournalEntry {
  size_t window = 0;
  std::vector<WindowScores> scores;  // of every model
};

class Journal {
 public:
  // Starts a new journal, over any old one.
  static Journal Create(const std::filesystem::path& path, const std::string& fingerprint);

  // Opens an old journal, gives its whole entries, and cuts off a torn end. Throws Error where the
  // file is no journal or that of another run (another fingerprint); where there is none, does as
  // Create.
  static Journal Resume(const std::filesystem::path& path, const std::string& fingerprint,
                        size_t windows, size_t models, std::vector<JournalEntry>& entries);

  ~Journal();
  Journal(Journal&& other) noexcept;
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  // On disk when it returns. Throws Error on a full disk; what was appended before stays good.
  void Append(size_t window, std::span<const WindowScores> scores);

  const std::filesystem::path& path() const { return path_; }
  void Remove();  // the run is over and recorded

 private:
  Journal(std::filesystem::path path, int file) : path_(std::move(path)), file_(file) {}
  void WriteFrame(const std::string& payload);

  std::filesystem::path path_;
  int file_ = -1;
};

}  // namespace quantref
