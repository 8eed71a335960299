#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "eval/inputs/group_cell.h"
#include "eval/inputs/group_context.h"
#include "harness/base/error.h"
#include "harness/io/file_lock.h"
#include "harness/train/trainer.h"

namespace quantref {

inline constexpr char kCheckpointStart[] = ".training-";  // of its file's name

// Another run has what this cell would be kept in.
Error AtWork(const std::string& cell, const std::filesystem::path& path);

// Where a cell's training is, in the folder of the records, for --resume: the trainer's state and
// the losses until then, under the key of the cell (kept_cells.h). From when it is taken or kept
// the file is this object's alone, by a lock.
class TrainingCheckpoint {
 public:
  TrainingCheckpoint(const GroupContext& group, const GroupCell& cell);

  const std::filesystem::path& file() const { return file_; }

  // Whether there is one to go on from, whole and of this cell, and the run is to; says so where
  // one is there that cannot be used. Throws Error where another run is at work with it.
  bool IsThere() const;
  // Puts it into the trainer. False where IsThere is, or it is of another trainer.
  bool Take(Trainer& trainer, std::vector<double>& losses);
  // A disk that is full, or another run that has it, ends nothing: returns false, and says so.
  bool Keep(const Trainer& trainer, const std::vector<double>& losses);
  void Remove() const noexcept;  // unless another run has it

 private:
  std::string Payload() const;  // "": none that can be used
  void Lock();                  // the file, where there is one

  const GroupContext& group_;
  std::string name_, key_;
  std::filesystem::path file_;
  FileLock lock_;
};

}  // namespace quantref
