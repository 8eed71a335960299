#pragma once

#include <filesystem>
#include <string>

namespace quantref {

// Every *.svg of the folder as a figure, by name, with its bytes in the page. As images they run no
// script, load nothing, and their ids do not meet. Error where there is none, or one is no SVG.
std::string PlotsHtml(const std::filesystem::path& folder);

}  // namespace quantref
