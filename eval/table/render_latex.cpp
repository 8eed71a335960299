#include <fmt/format.h>

#include <algorithm>

#include "eval/table/render.h"

namespace quantref {
namespace {

// Signs that pdfLaTeX's fonts lack as text.
const std::pair<std::string_view, std::string_view> kSigns[] = {
    {"±", "\\ensuremath{\\pm}"},      {"×", "\\ensuremath{\\times}"},
    {"Δ", "\\ensuremath{\\Delta}"},   {"†", "\\ensuremath{\\dagger}"},
    {"‖", "\\ensuremath{\\Vert}"},    {"α", "\\ensuremath{\\alpha}"},
    {"≤", "\\ensuremath{\\leq}"},     {"≥", "\\ensuremath{\\geq}"},
    {"→", "\\ensuremath{\\to}"},      {"↓", "\\ensuremath{\\downarrow}"},
    {"↑", "\\ensuremath{\\uparrow}"},
};

std::string_view EscapedByte(char c) {
  switch (c) {
    case '\\':
      return "\\textbackslash{}";
    case '~':
      return "\\textasciitilde{}";
    case '^':
      return "\\textasciicircum{}";
    case '<':
      return "\\textless{}";
    case '>':
      return "\\textgreater{}";
    case '|':
      return "\\textbar{}";
    case '"':
      return "''";
    case '[':  // behind a line's end it would begin an option
      return "{[}";
    case ']':
      return "{]}";
    case '{':
      return "\\{";
    case '}':
      return "\\}";
    case '$':
      return "\\$";
    case '&':
      return "\\&";
    case '#':
      return "\\#";
    case '_':
      return "\\_";
    case '%':
      return "\\%";
    case '\n':
    case '\t':
      return " ";
    default:
      return {};
  }
}

std::string EscapedLatex(std::string_view text) {
  std::string escaped;
  while (!text.empty()) {
    const auto sign = std::find_if(std::begin(kSigns), std::end(kSigns), [&](const auto& entry) {
      return text.starts_with(entry.first);
    });
    if (sign != std::end(kSigns)) {
      escaped += sign->second;
      text.remove_prefix(sign->first.size());
      continue;
    }
    const std::string_view replacement = EscapedByte(text[0]);
    escaped += replacement.empty() ? text.substr(0, 1) : replacement;
    text.remove_prefix(1);
  }
  return escaped;
}

std::string LatexCell(const std::optional<TableCell>& cell, const TableValue& shows) {
  if (!cell) return "{-}";
  const NumberText number = CellNumber(*cell, shows);
  std::string text = number.half ? fmt::format("\\num{{{} \\pm {}}}", number.value, *number.half)
                                 : fmt::format("\\num{{{}}}", number.value);
  if (number.low)
    text += fmt::format(" {{[}}\\num{{{}}}, \\num{{{}}}{{]}}", *number.low, *number.high);
  if (cell->mark == CellMark::kBest) text = fmt::format("\\textbf{{{}}}", text);
  std::string marks = cell->mark == CellMark::kTied ? "\\ensuremath{\\dagger}" : "";
  marks += StampLetters(*cell);
  // Without width, so that the numbers of a column stay below each other.
  if (!marks.empty()) text += fmt::format("\\rlap{{\\textsuperscript{{{}}}}}", marks);
  return text;
}

// A line of the header, and rules under what spans several columns.
std::string HeaderLine(const Table& table, const std::vector<HeaderSpan>& spans, bool last) {
  std::string line, rules;
  const size_t heads = table.spec->rows.size();
  for (size_t f = 0; f < heads; ++f)
    line += (f > 0 ? " & " : "") + (last ? EscapedLatex(table.spec->rows[f].name) : std::string());
  size_t column = heads + 1;
  for (const HeaderSpan& span : spans) {
    line += fmt::format(" & \\multicolumn{{{}}}{{c}}{{{}}}", span.columns, EscapedLatex(span.text));
    if (span.columns > 1 && !last)
      rules += fmt::format("\\cmidrule(lr){{{}-{}}}", column, column + span.columns - 1);
    column += span.columns;
  }
  return line + " \\\\\n" + (rules.empty() ? "" : rules + "\n");
}

std::string Rows(const Table& table) {
  std::string text;
  for (size_t r = 0; r < table.rows.size(); ++r) {
    const RowHead head = TableRowHead(table, r);
    if (head.fresh) text += "\\midrule\n";
    for (const std::string& label : head.labels)
      text += (&label == head.labels.data() ? "" : " & ") + EscapedLatex(label);
    for (size_t c = 0; c < table.columns.size(); ++c)
      text += " & " + LatexCell(table.cells[r][c], *table.columns[c].shows);
    text += " \\\\";
    for (const TableRecord* record : RecordsOfRow(table, r))
      text += (text.ends_with('\\') ? " % record " : " ") + record->stored.id;
    text += "\n";
  }
  return text;
}

std::string LatexSentences(const std::vector<std::string>& sentences, const std::string& between) {
  std::string text;
  for (const std::string& sentence : sentences)
    text += (text.empty() ? "" : between) + EscapedLatex(sentence);
  return text;
}

// Numbers as they are: what siunitx would make of them ends with the group.
std::string Tabular(const Table& table) {
  std::string text =
      "\\sisetup{separate-uncertainty = true, retain-explicit-plus = true, detect-weight = true, "
      "group-digits = false}%\n";
  text += fmt::format("\\begin{{tabular}}{{@{{}}{}{}@{{}}}}\n\\toprule\n",
                      std::string(table.spec->rows.size(), 'l'),
                      std::string(table.columns.size(), 'r'));
  const auto header = TableHeader(table);
  for (const auto& line : header) text += HeaderLine(table, line, &line == &header.back());
  return text + "\\midrule\n" + Rows(table) + "\\bottomrule\n\\end{tabular}";
}

std::string Comments(const std::vector<std::string>& sentences) {
  std::string text;
  for (const std::string& sentence : sentences) text += "% " + sentence + "\n";
  return text;
}

}  // namespace

std::string LatexTable(const Table& table) {
  const LatexStyle& style = table.spec->latex;
  CaptionParts parts = TableCaptionParts(table);
  const std::vector<std::string> answers = TableAnswers(table);
  parts.note.insert(parts.note.begin(), answers.begin(), answers.end());
  std::string text =
      "% Generated by make_tables; needs \\usepackage{booktabs,graphicx,siunitx}. Behind each row, "
      "its records.\n";
  if (style.environment.empty()) {
    std::vector<std::string> all = parts.caption;
    all.insert(all.end(), parts.note.begin(), parts.note.end());
    return text + Comments(all) + "\\begingroup\n" + Tabular(table) + "\n\\endgroup\n";
  }
  if (style.note_in_comments) text += Comments(parts.note);
  text += fmt::format("\\begin{{{}}}\n\\centering\n\\caption{{{}}}\n", style.environment,
                      LatexSentences(parts.caption, "\n  "));
  if (!table.spec->label.empty()) text += "\\label{" + table.spec->label + "}\n";
  // Shrunk to the page where it is wider.
  text += "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%\n" +
          Tabular(table) + "}\n";
  if (!style.note_in_comments && !parts.note.empty()) {
    text += "\\par\\smallskip\n\\begin{minipage}{\\linewidth}\\footnotesize\n" +
            LatexSentences(parts.note, "\n") + "\n\\end{minipage}\n";
  }
  return text + "\\end{" + style.environment + "}\n";
}

}  // namespace quantref
