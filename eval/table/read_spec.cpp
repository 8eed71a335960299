#include "eval/table/spec.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <set>
#include <utility>

#include "eval/record/reference.h"
#include "eval/record/schema.h"
#include "eval/support/nearest.h"
#include "eval/support/yaml_reader.h"
#include "eval/table/analysis.h"
#include "harness/base/error.h"
#include "harness/base/glob.h"

namespace quantref {
namespace {

constexpr size_t kMostDigits = 9;
constexpr size_t kMostTokens = size_t{1} << 20;

// The names that specs may have of fields: paths of single values, and the short ones.
const std::vector<std::string>& ValidFields() {
  static const std::vector<std::string> valid = [] {
    std::vector<std::string> names = {"model", "scheme", "reach"};  // made of several
    for (const RecordField& field : RecordSchema()) {
      if (!field.alias.empty()) names.emplace_back(field.alias);
      if (IsSingle(field.type) && field.path.find("[]") == std::string::npos)
        names.push_back(field.path);
    }
    return names;
  }();
  return valid;
}

// Of the config that is in a record, and of nothing else in it, the schema does not say what it
// has.
bool IsOfConfig(const std::string& field) { return field.starts_with("config.resolved."); }

void RequireField(const std::string& field, const std::string& where) {
  const std::vector<std::string>& valid = ValidFields();
  if (IsOfConfig(field) || std::find(valid.begin(), valid.end(), field) != valid.end()) return;
  throw Error(fmt::format("unknown field '{}'{}", field, DidYouMean(field, valid)), where,
              "a name of results/tables/README.md, or the dotted path of a record's field");
}

// Whether a spec that names this value of a field means the reference of whatever type: "fp16" or
// "reference" of a method.
bool MeansReferenceOf(const std::string& field, const std::string& named,
                      const std::string& value) {
  return field == "method" && (named == kFp16Name || named == kAnyReference) &&
         IsReferenceName(value);
}

// A map whose keys the reader does not know beforehand.
using FreeMap = std::vector<std::pair<std::string, YAML::Node>>;
FreeMap Items(YamlReader& reader, const YAML::Node& map, const std::string& key) {
  FreeMap items;
  if (!reader.Has(key)) return items;
  if (!reader.IsMap(key)) reader.Fail(key, "a map");
  for (const auto& item : map[key]) items.emplace_back(item.first.Scalar(), item.second);
  return items;
}

std::vector<FieldFilter> ReadFilters(YamlReader& reader, const YAML::Node& map,
                                     const std::string& key) {
  std::vector<FieldFilter> filters;
  for (const auto& [field, node] : Items(reader, map, key)) {
    const std::string where = reader.Where(key);
    RequireField(field, where);
    FieldFilter filter{field, {}};
    if (node.IsScalar()) filter.globs.push_back(node.Scalar());
    for (size_t i = 0; node.IsSequence() && i < node.size(); ++i) {
      if (!node[i].IsScalar()) reader.Fail(key, "names or lists of names");
      filter.globs.push_back(node[i].Scalar());
    }
    if (filter.globs.empty())
      throw Error(fmt::format("expected '{}' to have a name or a list of names", field), where);
    filters.push_back(std::move(filter));
  }
  return filters;
}

TableField ReadField(YamlReader& reader) {
  TableField field;
  if (!reader.Has("field")) reader.Fail("field", "a record's field");
  reader.Set("field", field.field);
  RequireField(field.field, reader.Where("field"));
  field.name = field.field;
  reader.Set("name", field.name);
  reader.Set("order", field.order);
  for (const auto& [value, label] : Items(reader, reader.node(), "labels")) {
    if (!label.IsScalar()) reader.Fail("labels", "a map of values to texts");
    field.labels[value] = label.Scalar();
  }
  reader.RefuseUnknownKeys();
  return field;
}

std::vector<TableField> ReadFields(YamlReader& root, const std::string& key) {
  std::vector<TableField> fields;
  std::set<std::string> seen;
  for (YamlEntry& entry : root.Entries(key)) {
    if (entry.text) {
      RequireField(*entry.text, root.Where(key));
      fields.push_back({*entry.text, *entry.text});
    } else {
      fields.push_back(ReadField(*entry.map));
    }
    if (!seen.insert(fields.back().field).second)
      throw Error(fmt::format("the field '{}' stands twice", fields.back().field), root.Where(key));
  }
  return fields;
}

const TableMetric* RequireMetric(const std::string& name, const std::string& where) {
  if (const TableMetric* metric = FindTableMetric(name)) return metric;
  std::vector<std::string> names;
  for (const TableMetric& metric : TableMetrics()) names.push_back(metric.name);
  throw Error(fmt::format("unknown metric '{}'{}", name, DidYouMean(name, names)), where);
}

TableValue PlainValue(const TableMetric* metric) { return {metric, metric->header}; }

void SetPoint(YamlReader& reader, const std::string& key, const TableMetric& metric,
              std::optional<size_t>& value) {
  if (!reader.Has(key)) return;
  if (!metric.IsSpeed()) reader.Fail(key, "no such key: " + metric.name + " is no speed");
  size_t number = 0;
  reader.Set(key, number, 1, kMostTokens);
  value = number;
}

TableValue ReadValue(YamlReader& reader) {
  if (!reader.Has("metric")) reader.Fail("metric", "a metric's name");
  std::string name;
  reader.Set("metric", name);
  TableValue value = PlainValue(RequireMetric(name, reader.Where("metric")));
  reader.Set("name", value.header);
  if (reader.Has("digits")) {
    size_t digits = 0;
    reader.Set("digits", digits, 0, kMostDigits);
    value.digits = digits;
  }
  const std::string style = reader.Choice("uncertainty", {"±", "interval", "none"}, "±");
  if (style == "interval") value.uncertainty = UncertaintyStyle::kInterval;
  if (style == "none") value.uncertainty = UncertaintyStyle::kNone;
  reader.Set("marks", value.marks);
  SetPoint(reader, "tokens", *value.metric, value.tokens);
  SetPoint(reader, "threads", *value.metric, value.threads);
  reader.RefuseUnknownKeys();
  return value;
}

void ReadCompare(YamlReader& root, const YAML::Node& node, TableSpec& spec) {
  YamlReader compare = root.Map("compare");
  spec.compare_rows = compare.Choice("along", {"column", "row"}, "column") == "row";
  compare.Set("within", spec.within);
  for (const std::string& field : spec.within) RequireField(field, compare.Where("within"));
  // The reference is what the others are measured by.
  spec.compete = {{"method", {fmt::format("!{}", kAnyReference)}}};
  if (compare.Has("where")) spec.compete = ReadFilters(compare, node["compare"], "where");
  compare.RefuseUnknownKeys();
}

std::optional<double> ReadBound(YamlReader& reader, const std::string& key) {
  if (!reader.Has(key)) return std::nullopt;
  double bound = 0;
  reader.Set(key, bound);
  return bound;
}

// Two cells are compared window by window; of bounds any figure with an interval will do.
void CheckQuestion(YamlReader& reader, const TableQuestion& question) {
  const bool bounds = question.from || question.to;
  if (question.ask.empty()) reader.Fail("ask", "a question");
  if (question.cells.empty()) reader.Fail("cells", "which cells it is about, by their fields");
  if (question.metric == nullptr) reader.Fail("metric", "a metric's name");
  if (bounds == !question.than.empty())
    reader.Fail("than", "either cells to compare with, or bounds (from, to)");
  if (question.from && question.to && *question.from > *question.to)
    reader.Fail("to", fmt::format("a number from {} on", *question.from));
  const TableMetric& metric = *question.metric;
  if (!bounds && (metric.IsSpeed() || metric.samples.empty()))
    reader.Fail("metric", "one whose windows records hold: ppl, delta_ppl, kl_mean, top1, ...");
  if (bounds && metric.interval_path.empty())
    reader.Fail("metric", "one with an interval: ppl, delta_ppl, kl_mean, top1, ...");
}

TableQuestion ReadQuestion(YamlReader& reader) {
  TableQuestion question;
  reader.Set("ask", question.ask);
  question.cells = ReadFilters(reader, reader.node(), "cells");
  question.than = ReadFilters(reader, reader.node(), "than");
  reader.Set("each", question.each);
  for (const std::string& field : question.each) RequireField(field, reader.Where("each"));
  std::string metric;
  reader.Set("metric", metric);
  question.metric = metric.empty() ? nullptr : RequireMetric(metric, reader.Where("metric"));
  question.from = ReadBound(reader, "from");
  question.to = ReadBound(reader, "to");
  reader.Set("yes", question.yes);
  reader.Set("no", question.no);
  reader.RefuseUnknownKeys();
  CheckQuestion(reader, question);
  return question;
}

// A label goes into LaTeX as it is.
void SetLabel(YamlReader& root, TableSpec& spec) {
  root.Set("label", spec.label);
  const bool plain = std::all_of(spec.label.begin(), spec.label.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == ':' || c == '-' || c == '.';
  });
  if (!plain) root.Fail("label", "letters, digits, ':', '-' and '.'");
}

void ReadLatex(YamlReader& root, TableSpec& spec) {
  YamlReader latex = root.Map("latex");
  const std::string environment = latex.Choice("float", {"table", "table*", "none"}, "table");
  spec.latex.environment = environment == "none" ? "" : environment;
  spec.latex.note_in_comments = latex.Choice("note", {"below", "comment"}, "below") == "comment";
  latex.RefuseUnknownKeys();
}

void ReadAnalysis(YamlReader& root, TableSpec& spec) {
  if (!root.Has("analysis")) return;
  spec.analysis = root.Choice("analysis", AnalysisNames(), "");
  for (const char* key : {"rows", "columns", "cells", "compare", "questions"}) {
    if (root.Has(key)) root.Fail(key, "no such key: an analysis has its own rows and columns");
  }
}

// Of a table of cells.
void RequireRowsAndCells(YamlReader& root, const TableSpec& spec) {
  if (spec.rows.empty()) root.Fail("rows", "a list of fields");
  if (spec.cells.empty()) root.Fail("cells", "a list of metrics");
  for (const TableField& field : spec.columns) {
    const auto same = [&](const TableField& row) { return row.field == field.field; };
    if (std::any_of(spec.rows.begin(), spec.rows.end(), same))
      throw Error(fmt::format("'{}' is a field of the rows already", field.field),
                  root.Where("columns"));
  }
}

void ReadOutputs(YamlReader& root, TableSpec& spec) {
  YamlReader outputs = root.Map("outputs");
  const std::vector<std::string>& names = TableFormatNames();
  for (size_t f = 0; f < names.size(); ++f) {
    std::string path;
    outputs.Set(names[f], path);
    if (!path.empty()) spec.outputs[TableFormat(f)] = spec.Folder() / path;
  }
  outputs.RefuseUnknownKeys();
}

}  // namespace

size_t TableField::Rank(const std::string& value) const {
  const auto matches = [&](const std::string& entry) {
    return entry == value || MeansReferenceOf(field, entry, value);
  };
  const auto at = std::find_if(order.begin(), order.end(), matches);
  if (at != order.end()) return 1 + static_cast<size_t>(at - order.begin());
  const bool reference = value == "none" || MeansReferenceOf(field, kAnyReference, value);
  return reference ? 0 : 1 + order.size();
}

bool FieldFilter::Passes(const std::string& value) const {
  bool wanted = false, only_refusals = true;
  for (const std::string& glob : globs) {
    const bool refuses = glob.starts_with('!');
    const std::string wanted_glob = refuses ? glob.substr(1) : glob;
    const bool matches =
        GlobMatches(wanted_glob, value) || MeansReferenceOf(field, wanted_glob, value);
    if (refuses && matches) return false;
    wanted = wanted || (!refuses && matches);
    only_refusals = only_refusals && refuses;
  }
  return wanted || only_refusals;
}

const std::string& TableField::Label(const std::string& value) const {
  static const std::string absent = "-";
  const auto label = labels.find(value);
  if (label != labels.end()) return label->second;
  const auto reference = labels.find(kAnyReference);
  if (reference != labels.end() && MeansReferenceOf(field, kAnyReference, value))
    return reference->second;
  return value == "none" ? absent : value;
}

std::vector<std::string> TableSpec::Fields() const {
  std::set<std::string> fields(within.begin(), within.end());
  for (const auto* list : {&rows, &columns}) {
    for (const TableField& field : *list) fields.insert(field.field);
  }
  const auto insert = [&](const std::vector<FieldFilter>& filters) {
    for (const FieldFilter& filter : filters) fields.insert(filter.field);
  };
  insert(where);
  insert(compete);
  for (const TableQuestion& question : questions) {
    insert(question.cells);
    insert(question.than);
    fields.insert(question.each.begin(), question.each.end());
  }
  if (!analysis.empty()) {
    const std::vector<std::string> needed = AnalysisFields(analysis);
    fields.insert(needed.begin(), needed.end());
  }
  return {fields.begin(), fields.end()};
}

const std::string& TableSpec::LabelOf(const std::string& field, const std::string& value) const {
  for (const auto* list : {&rows, &columns}) {
    for (const TableField& shown : *list)
      if (shown.field == field) return shown.Label(value);
  }
  return value;
}

TableSpec ReadTableSpec(const std::string& file) {
  TableSpec spec;
  spec.file = file;
  const YAML::Node node = ReadYaml(file);
  YamlReader root(node, file);
  root.Set("title", spec.title);
  SetLabel(root, spec);
  root.Set("note", spec.note);
  root.Set("records", spec.records);
  spec.where = ReadFilters(root, node, "where");
  ReadAnalysis(root, spec);
  spec.rows = ReadFields(root, "rows");
  spec.columns = ReadFields(root, "columns");
  for (YamlEntry& entry : root.Entries("cells")) {
    spec.cells.push_back(entry.text ? PlainValue(RequireMetric(*entry.text, root.Where("cells")))
                                    : ReadValue(*entry.map));
  }
  ReadCompare(root, node, spec);
  for (YamlReader& entry : root.Maps("questions")) spec.questions.push_back(ReadQuestion(entry));
  ReadLatex(root, spec);
  spec.stamp_runs = root.Choice("several_runs", {"refuse", "stamp"}, "refuse") == "stamp";
  ReadOutputs(root, spec);
  root.RefuseUnknownKeys();
  if (spec.title.empty()) root.Fail("title", "what the table shows");
  if (spec.records.empty()) root.Fail("records", "a list of records or globs");
  if (spec.analysis.empty()) RequireRowsAndCells(root, spec);
  return spec;
}

const std::vector<std::string>& TableFormatNames() {
  static const std::vector<std::string> names = {"latex", "markdown", "csv", "html", "text"};
  return names;
}

}  // namespace quantref
