#pragma once

#include <string>

namespace quantref {

// RecordSchema() for people, in Markdown: results/fields.md.
std::string FieldsPage();

// The same for scripts, as JSON: results/fields.json.
std::string FieldsJson();

}  // namespace quantref
