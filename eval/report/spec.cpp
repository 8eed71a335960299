#include "eval/report/spec.h"

#include "eval/support/yaml_reader.h"

namespace quantref {

ReportSpec ReadReportSpec(const std::string& file) {
  ReportSpec spec;
  spec.file = file;
  const YAML::Node node = ReadYaml(file);
  YamlReader root(node, file);
  root.Set("title", spec.title);
  root.Set("note", spec.note);
  root.Set("records", spec.records);
  root.Set("tables", spec.tables);
  root.Set("baseline", spec.baseline);
  root.Set("output", spec.output);
  root.RefuseUnknownKeys();
  if (spec.title.empty()) root.Fail("title", "what the report is about");
  if (spec.records.empty()) root.Fail("records", "a list of records, folders or globs");
  return spec;
}

}  // namespace quantref
