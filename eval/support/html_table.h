#pragma once

#include <optional>
#include <string>
#include <vector>

namespace quantref {

// Tables of text in HTML pages.

struct HtmlCell {
  std::string text;
  std::string title{};            // what shows where a pointer rests; "": nothing
  std::string kind{};             // its CSS classes; "": none
  std::optional<double> value{};  // of a figure: what it is sorted by
};

// Folds out below a row, whose first cell leads to it.
struct HtmlFold {
  std::string id;
  std::string html;
};

struct HtmlTextTable {
  std::string label;  // for those who do not see it
  std::vector<std::string> header;
  std::vector<std::vector<HtmlCell>> rows;
  // Columns from here on hold figures: flush right. One without a value is missing.
  size_t left = 0;
  std::vector<HtmlFold> folds{};  // none, or one a row
  std::string shared{};           // what is true of all rows: filters find it in each
};

// The table in a box that scrolls.
std::string HtmlOf(const HtmlTextTable& table);

// A figure's value as pages sort it, for the attribute data-value.
std::string SortValue(std::optional<double> value);

// Where a page has the record, for links: "record-1f2e".
std::string RecordAnchor(const std::string& id);

// A table's first tag. shared: as above.
std::string TableTag(const std::string& shared);

// The box, with what is in it.
std::string ScrollBox(const std::string& label, const std::string& html);

}  // namespace quantref
