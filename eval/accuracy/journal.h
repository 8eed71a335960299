#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "eval/accuracy/position.h"

namespace quantref {

// The windows of a run that are done, on disk, so that an interrupted run can go on. One file:
//   header   8 bytes "QRJRNL01", then a frame whose payload is the run's fingerprint
//   frames   uint32 payload bytes, uint32 CRC-32 of the payload, payload
//   payload  uint64 window, uint64 models, then each model's WindowScores (doubles; uint64 sizes
//   before kl_values, kept_kl, outliers (uint32) and logits_sha256)
// all little-endian. Frames are appended and synced one by one, so a crash, a kill or a full disk
// can only tear the last one: reading ends at the first frame that is short or whose sum is wrong,
// and writing goes on from there. A journal is one process's at a time: it is locked (flock) as
// long as the object lives, where the file system can.
struct JournalEntry {
  size_t window = 0;
  std::vector<WindowScores> scores;  // of every model
};

// An entry's payload; false where the bytes are none of so many models.
std::string EncodeEntry(size_t window, std::span<const WindowScores> scores);
bool DecodeEntry(std::string_view payload, size_t models, JournalEntry& entry);

class Journal {
 public:
  // Starts a new journal, over any old one. Throws Error where another process is at work on it.
  static Journal Create(const std::filesystem::path& path, const std::string& fingerprint);

  // Opens an old journal, gives its whole entries, and cuts off a torn end. Throws Error where the
  // file is no journal or that of another run (another fingerprint); where there is none, does as
  // Create.
  static Journal Resume(const std::filesystem::path& path, const std::string& fingerprint,
                        size_t models, std::vector<JournalEntry>& entries);

  // The whole entries of a journal that is left as it is. Throws Error as Resume, and where there
  // is none.
  static std::vector<JournalEntry> Read(const std::filesystem::path& path,
                                        const std::string& fingerprint, size_t models);

  ~Journal();
  Journal(Journal&& other) noexcept;
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  // Where the file is: where it was made; removed by somebody and made again with all that it had;
  // or removed, and its folder cannot be made again.
  enum class State { kThere, kMadeAgain, kGone };

  // On disk when it returns, unless it is gone. Throws Error on a full disk; what was appended
  // before stays good.
  State Append(size_t window, std::span<const WindowScores> scores);

  void Remove();  // the run is over and recorded

 private:
  Journal(std::filesystem::path path, int file) : path_(std::move(path)), file_(file) {}
  static Journal Open(const std::filesystem::path& path);
  void Start(const std::string& fingerprint);
  void WriteAll(std::string_view bytes);
  State MakeAgain();

  std::filesystem::path path_;
  int file_ = -1;
};

}  // namespace quantref
