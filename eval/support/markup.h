#pragma once

#include <string>
#include <string_view>

namespace quantref {

// What HTML pages, XML, Markdown and CSV files are made of.

// Text as it stands in elements and between double quotes: what means something there is escaped,
// and what is not printable is as Printable() has it.
std::string MarkupText(const std::string& text);

// Text as GitHub's Markdown shows it, in a table's cell too: what means something to it or to HTML
// is escaped, line ends are spaces.
std::string MarkdownText(const std::string& text);

// Text as a value of a CSV line (RFC 4180): quoted where it must be.
std::string CsvText(const std::string& text);

// RFC 4648, padded. Of less than 2 GiB.
std::string Base64(std::string_view bytes);

}  // namespace quantref
