#pragma once

#include <string_view>

namespace quantref {

// report_page.css and report_page.js, as they stand in a page.
extern const std::string_view kReportStyle, kReportScript;

}  // namespace quantref
