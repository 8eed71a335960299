#pragma once

#include <string>

namespace quantref {

// What is shown, recorded and published of a model or text: its name, or of a path the last part.
// Where a file lies says who ran it and not what was measured, which hashes say.
std::string PublicName(const std::string& name_or_path);

// A data set with its split, "wikitext-2 test"; a file of one's own has none.
std::string TextName(const std::string& dataset, const std::string& split);

}  // namespace quantref
