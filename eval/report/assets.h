#pragma once

#include <string_view>

namespace quantref {

// page.css and page.js, as they stand in a page.
extern const std::string_view kReportStyle, kReportScript;

}  // namespace quantref
