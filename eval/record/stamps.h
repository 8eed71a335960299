#pragma once

#include <compare>
#include <string>
#include <vector>

namespace quantref {

class RecordFields;

// What must be known of a record before its figures are used, everywhere where they stand. Tables
// mark cells with the letter.
struct Stamp {
  char letter;
  std::string text;
  bool speed;  // of speeds, else of accuracy
  auto operator<=>(const Stamp&) const = default;
};

// Sorted, each once.
std::vector<Stamp> StampsOf(const RecordFields& fields);

}  // namespace quantref
