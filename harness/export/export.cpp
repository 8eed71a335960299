#include "harness/export/export.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "harness/base/error.h"
#include "harness/export/formats.h"
#include "harness/export/limits.h"
#include "harness/io/file.h"
#include "harness/io/json_file.h"
#include "harness/io/whole_folder.h"
#include "harness/model/layout.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;

constexpr char kOriginFile[] = "quantref.json";
constexpr const ExportFormat* kFormats[] = {&kPackQuantized,  &kIntQuantized, &kGptqV2,
                                            &kAwqGemm,        &kGgufBlocks,   &kDequantized,
                                            &kDequantizedFp32};

bool IsRotated(const ModelConfig& config) {
  return std::any_of(config.layers.begin(), config.layers.end(), [](const LayerConfig& layer) {
    return layer.attention_rotation.order > 1 || layer.mlp_rotation.order > 1;
  });
}

bool SameBiases(const ModelConfig& a, const ModelConfig& b) {
  return std::equal(a.layers.begin(), a.layers.end(), b.layers.begin(), b.layers.end(),
                    [](const LayerConfig& x, const LayerConfig& y) { return x.bias == y.bias; });
}

// Why no checkpoint can hold it.
std::string WhyNone(const CellToExport& cell) {
  if (Checkpoint::FindGguf(cell.model))
    return "goes with the model's config.json and tokenizer files, and this one is a GGUF file";
  if (cell.rounds_cache) return "holds weights, and not how a cache of keys and values is rounded";
  if (cell.adapters)
    return WithRemedy("has no adapters beside matrices", cell.remedies.adapters,
                      "adds them to these");
  if (IsRotated(cell.config))
    return WithRemedy("has no rotations in the forward pass", cell.remedies.rotations,
                      "bakes them into weights");
  if (!SameBiases(cell.original, cell.config))
    return "goes with the model's config.json, and the method gives biases to other matrices";
  if (cell.folds && cell.config.family->norm == Family::Norm::kRmsPlusOne)
    return "stores gains of this family as w of 1 + w, which does not hold those with folded scales";
  return "";
}

// Why a format cannot hold a cell, and the matrix at fault where it is one's.
struct Reason {
  std::string why, matrix;
};

Reason WhyNot(const ExportFormat& format, const CellToExport& cell) {
  if (std::string why = WhyNone(cell); !why.empty()) return {std::move(why), ""};
  if (std::string why = format.why_not(cell); !why.empty()) return {std::move(why), ""};
  for (const PlannedLinear& linear : cell.plan) {
    if (!linear.scheme) continue;
    std::string why = format.why_not_matrix(cell, linear);
    if (!why.empty()) {
      return {fmt::format("{} ({})", why, SchemeName(*linear.scheme)), linear.shape.name};
    }
  }
  return {};
}

std::string FormatsThatCan(const CellToExport& cell) {
  std::string names;
  for (const ExportFormat* format : kFormats) {
    if (WhyNot(*format, cell).why.empty())
      names += fmt::format("{}{}", names.empty() ? "" : ", ", format->name);
  }
  return names.empty() ? "no format can" : "formats that can: " + names;
}

}  // namespace

std::span<const ExportFormat* const> ExportFormats() { return kFormats; }

const ExportFormat* FindExportFormat(std::string_view name) {
  const auto* found = std::ranges::find(kFormats, name, &ExportFormat::name);
  return found == std::end(kFormats) ? nullptr : *found;
}

void CheckExportable(const ExportFormat& format, const CellToExport& cell) {
  const Reason reason = WhyNot(format, cell);
  if (reason.why.empty()) return;
  throw Error(fmt::format("{} {}", format.name, reason.why),
              reason.matrix.empty() ? "--export-format" : reason.matrix, FormatsThatCan(cell));
}

namespace {

// The bytes of each file that it holds, but of kOriginFile.
nlohmann::json SizesIn(const fs::path& folder) {
  nlohmann::json sizes = nlohmann::json::object();
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (entry.path().filename() != kOriginFile)
      sizes[entry.path().filename().string()] = entry.file_size();
  }
  return sizes;
}

}  // namespace

void ExportCell(const ExportFormat& format, const FinishedCell& cell, const fs::path& folder) {
  WriteFolderWhole(folder, [&](const fs::path& unfinished) {
    format.write(cell, unfinished);
    const nlohmann::ordered_json origin = {{"format", format.name},
                                           {"config", cell.origin.config},
                                           {"cell", cell.origin.cell},
                                           {"model", cell.origin.model},
                                           {"weights_sha256", cell.origin.weights_sha256},
                                           {"bytes", SizesIn(unfinished)}};
    WriteFileAtomically(unfinished / kOriginFile, origin.dump(2) + "\n", false);
  });
}

bool IsExportOf(const fs::path& folder, const ExportFormat& format,
                const std::string& weights_sha256) {
  try {
    const nlohmann::json origin = ReadJsonFile(folder / kOriginFile);
    return origin.is_object() && origin.value("format", "") == format.name &&
           origin.value("weights_sha256", "") == weights_sha256 &&
           origin.value("bytes", nlohmann::json()) == SizesIn(folder);
  } catch (const Interrupted&) {
    throw;
  } catch (const Error&) {
    return false;
  } catch (const nlohmann::json::exception&) {
    return false;
  } catch (const fs::filesystem_error&) {
    return false;
  }
}

}  // namespace quantref
