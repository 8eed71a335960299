#include "eval/run/kept_cells.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>
#include <string_view>
#include <system_error>
#include <tuple>
#include <utility>

#include "eval/run/finished.h"
#include "eval/run/training_checkpoint.h"
#include "eval/support/say.h"
#include "harness/base/error.h"
#include "harness/base/sha256.h"
#include "harness/io/file_pieces.h"
#include "harness/io/mapped_file.h"
#include "harness/method/kept_model.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;

// The file: magic, key, HashQuantized, the model's bytes, SHA-256 of all before; hashes in hex.
constexpr std::string_view kMagicOfCells = "QRCELL02";
constexpr std::string_view kCellStart = ".cell-", kCellEnd = ".tmp";
constexpr size_t kHashSize = 64, kNameSize = 16;

fs::path FileOf(const GroupContext& group, const std::string& key) {
  return group.options.out / fmt::format("{}{}{}", kCellStart, key.substr(0, kNameSize), kCellEnd);
}

// Whether losing it would cost more than a moment.
bool IsKept(const GroupCell& cell) {
  return cell.spec != nullptr && (cell.calibration != nullptr || cell.training != nullptr);
}

// Cuts off the front.
std::string_view TakeFront(std::string_view& bytes, size_t count) {
  const std::string_view front = bytes.substr(0, count);
  bytes.remove_prefix(front.size());
  return front;
}

// Nothing where the file is not whole, or not this cell.
std::optional<std::pair<QuantizedModel, std::string>> ReadKept(const GroupContext& group,
                                                               const GroupCell& cell,
                                                               const fs::path& path,
                                                               const std::string& key) {
  const MappedFile file(path);
  std::string_view bytes(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  if (bytes.size() < kMagicOfCells.size() + 3 * kHashSize) return std::nullopt;
  const std::string_view sum = bytes.substr(bytes.size() - kHashSize);
  bytes.remove_suffix(kHashSize);
  if (Sha256Hex(bytes) != sum) return std::nullopt;
  if (TakeFront(bytes, kMagicOfCells.size()) != kMagicOfCells) return std::nullopt;
  if (TakeFront(bytes, kHashSize) != key) return std::nullopt;
  const std::string hash(TakeFront(bytes, kHashSize));
  auto model = ReadModel(bytes, group.model->weights, cell.plan, group.threads);
  if (!model || HashQuantized(model->weights) != hash) return std::nullopt;
  return std::pair(std::move(*model), hash);
}

}  // namespace

std::string KeyOfCell(const GroupContext& group, const GroupCell& cell) {
  std::string text = OriginText(group) + cell.label + "\n" +
                     OwnConfigText(cell.config->ResolvedForScores(), cell.spec->label) + "\n";
  if (const CalibrationSet* set = cell.calibration)
    text += set->TokenSha256(set->data.samples.size());
  if (const CalibrationSet* set = cell.training)
    text += "\n" + set->TokenSha256(set->data.samples.size());
  return Sha256Hex(text);
}

bool TakeKept(const GroupContext& group, GroupCell& cell) {
  if (!group.options.resume || !IsKept(cell)) return false;
  const std::string key = KeyOfCell(group, cell);
  const fs::path path = FileOf(group, key);
  std::error_code error;
  if (!fs::exists(path, error)) return false;
  std::string why = "it is damaged, or not of this model";
  try {
    if (auto kept = ReadKept(group, cell, path, key)) {
      std::tie(cell.quantized, cell.weights_sha256) = std::move(*kept);
      cell.kept = path;
      if (!group.options.quiet)
        Say("{} {}: quantized by an earlier run\n", cell.config->name, cell.label);
      return true;
    }
  } catch (const Interrupted&) {
    throw;
  } catch (const Error& failure) {
    why = failure.problem();
  }
  Say("{}: {}: {} {} IS QUANTIZED AGAIN\n", path.string(), why, cell.config->name, cell.label);
  return false;
}

bool KeepCell(const GroupContext& group, GroupCell& cell) {
  if (!IsKept(cell)) return false;
  const std::string key = KeyOfCell(group, cell);
  try {
    const auto write = [&](const ByteSink& sink) {
      Sha256Stream sha;
      const ByteSink summed = [&](std::string_view bytes) {
        sha.Update(bytes.data(), bytes.size());
        sink(bytes);
      };
      summed(kMagicOfCells);
      summed(key);
      summed(cell.weights_sha256);
      if (!WriteModel(group.model->weights, cell.plan, cell.quantized, summed))
        throw Error("a matrix is in a form that is never written", cell.label);
      sink(sha.HexDigest());
    };
    const fs::path path = FileOf(group, key);
    WriteFileAtomically(path, write, true);
    cell.kept = path;
    return true;
  } catch (const Interrupted&) {
    throw;
  } catch (const Error& failure) {
    Say("{} {} cannot be kept for --resume: {}\n", cell.config->name, cell.label, failure.what());
    return false;
  }
}

void RemoveKept(const Pass& cells) noexcept {
  std::error_code ignored;
  for (const GroupCell& cell : cells) {
    if (!cell.kept.empty()) fs::remove(cell.kept, ignored);
  }
}

std::string LeftBehindText(const GroupContext& group, const std::vector<GroupCell>& cells) {
  std::set<fs::path> own;
  for (const GroupCell& cell : cells) {
    if (!IsKept(cell) || cell.finished) continue;
    own.insert(FileOf(group, KeyOfCell(group, cell)).filename());
    own.insert(TrainingCheckpoint(group, cell).file().filename());
  }
  double bytes = 0;
  std::error_code error;
  for (fs::directory_iterator entry(group.options.out, error);
       !error && entry != fs::directory_iterator(); entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    const bool kept = name.starts_with(kCellStart) || name.starts_with(kCheckpointStart);
    if (!kept || !name.ends_with(kCellEnd) || own.contains(name)) continue;
    std::error_code gone;
    const auto size = entry->file_size(gone);
    if (!gone) bytes += static_cast<double>(size);
  }
  if (bytes == 0) return "";
  return fmt::format(
      "{:.1f} MB in {}/{{{},{}}}*{} are quantized cells of other runs: remove them where none is at "
      "work or will be resumed\n",
      bytes / 1e6, group.options.out.string(), kCellStart, kCheckpointStart, kCellEnd);
}

}  // namespace quantref
