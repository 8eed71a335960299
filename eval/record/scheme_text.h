#pragma once

#include <string>

#include "eval/record/reader_fields.h"

namespace quantref {

// What a record says its matrices, activations and cache were rounded to, as every table has it:
// "int4 g128 asym, a8 token"; "none" where nothing was.
std::string SchemeText(const RecordFields& fields);

// Of the matrices alone; "int4 g128 asym mixed" where some differ from the config's scheme.
std::string WeightsText(const RecordFields& fields);

// Whether matrices differ in what `scheme` says of all: older records have the config's scheme
// there, whatever its overrides made of some.
bool IsSchemeOfSome(const RecordFields& fields);

// Behind the name of a scheme that not all matrices have.
inline constexpr char kMixed[] = "mixed";

}  // namespace quantref
