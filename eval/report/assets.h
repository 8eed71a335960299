#pragma once

#include <string_view>

namespace quantref {

// page.css, page.js and how_to_read.html, as they stand in a page.
extern const std::string_view kReportStyle, kReportScript, kReportProse;

}  // namespace quantref
