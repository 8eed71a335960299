#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "eval/anatomy/anatomy.h"

namespace quantref {

// A number that is told of each matrix: all that tables and files of an anatomy know of it.
struct AnatomyField {
  const char* name;   // in files: "kurtosis"
  const char* title;  // of its column; "": in files alone
  const char* about;
  double times;    // what tables multiply it by
  int decimals;    // of the product
  int worth;       // of its column, as TextColumn's
  bool foretells;  // whether it is asked how far it foretells the rounding error
  std::optional<double> (*value)(const MatrixAnatomy& matrix);
};
std::span<const AnatomyField> AnatomyFields();

// The name of what is no field of a matrix, since each cell has its own: RoundingLoss::reach.
inline constexpr char kReachName[] = "scale_reach";

// How far one number foretells a cell's rounding errors: rank correlations over matrices.
struct Foretelling {
  std::string name, about;  // of the field, or kReachName
  size_t matrices = 0;      // that have both
  std::optional<RankCorrelation> all{};
  // Of places among matrices of one kind (RanksWithin), of kinds with several: whether the number
  // also tells the layers of a kind apart, and not the kinds alone.
  size_t of_kinds = 0;
  std::optional<RankCorrelation> within_kinds{};
};
std::vector<Foretelling> Foretell(std::span<const MatrixAnatomy> matrices, size_t cell);

// All of a model's anatomy.
struct Anatomy {
  std::string model, weights_sha256;
  std::string outliers{};  // that were planted in it, in words; "": none
  std::string decoded{};   // codes of fewer bits whose values these weights are, likewise
  double parameters = 0;
  std::vector<RoundedCell> cells{};
  std::vector<MatrixAnatomy> matrices{};
  std::vector<std::vector<Foretelling>> foretold{};  // by cell
};

// As JSON text: of the same weights, config and program the same bytes. What a matrix does not have
// is absent.
std::string AnatomyJson(const Anatomy& anatomy);

// A line a matrix, with a column for each field and two for each cell.
std::string AnatomyCsv(const Anatomy& anatomy);

}  // namespace quantref
