#pragma once

#include <string>
#include <vector>

namespace quantref {

// Tables of text in HTML pages.

struct HtmlCell {
  std::string text;
  std::string title{};  // what shows where a pointer rests; "": nothing
  std::string kind{};   // its CSS classes; "": none
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
  // Columns from here on hold numbers, which are what they are sorted by: flush right. A text that
  // does not begin with a number is a missing one.
  size_t left = 0;
  std::vector<HtmlFold> folds{};  // none, or one a row
  std::string shared{};           // what is true of all rows: filters find it in each
};

// The table in a box that scrolls.
std::string HtmlOf(const HtmlTextTable& table);

// Where a page has the record, for links: "record-1f2e".
std::string RecordAnchor(const std::string& id);

// A table's first tag. shared: as above.
std::string TableTag(const std::string& shared);

// The box, with what is in it.
std::string ScrollBox(const std::string& label, const std::string& html);

}  // namespace quantref
