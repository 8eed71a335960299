#include "eval/report/columns.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>

#include "eval/record/change.h"
#include "eval/record/protocol_text.h"
#include "eval/support/figure_text.h"

namespace quantref {
namespace {

std::string FieldOr(const PageRecord& record, const std::string& field,
                    const std::string& otherwise) {
  const std::string& value = record.table.Field(field);
  return value == "none" ? otherwise : value;
}

RecordColumn Field(const std::string& name, const std::string& field) {
  return {name, {field}, [field](const PageRecord& record) {
            return HtmlCell{FieldOr(record, field, "-")};
          }};
}

// The first digits; all of them where a pointer rests.
RecordColumn Hash(const std::string& name, const std::string& field) {
  return {name, {field}, [field](const PageRecord& record) {
            const std::string value = FieldOr(record, field, "");
            return HtmlCell{value.empty() ? "-" : ShortHash(value), value};
          }};
}

RecordColumn Stamps() {
  return {"stamps", {}, [](const PageRecord& record) {
            std::string text;
            for (const Stamp& stamp : record.table.stored.stamps)
              text += (text.empty() ? "" : "; ") + stamp.text;
            return HtmlCell{text.empty() ? "-" : text, "", text.empty() ? "" : "stamped"};
          }};
}

RecordColumn Calibration(const std::string& name) {
  return {name, {}, [](const PageRecord& record) {
            const std::string& text = record.table.calibration;
            return HtmlCell{text.empty() ? "-" : text};
          }};
}

RecordColumn Commit(const std::string& name) {
  return {name, {"tool.git_commit", "tool.dirty"}, [](const PageRecord& record) {
            const std::string commit = FieldOr(record, "tool.git_commit", "unknown");
            const bool dirty = record.table.Field("tool.dirty") == "true";
            return HtmlCell{ShortHash(commit) + (dirty ? ", tree changed" : ""), commit};
          }};
}

RecordColumn Number(const std::string& name, const std::string& metric, size_t digits) {
  return {name, {}, [metric, digits](const PageRecord& record) {
            const auto number = record.table.numbers.find(metric);
            if (number == record.table.numbers.end()) return HtmlCell{"-"};
            const double value = number->second.value;
            return HtmlCell{FigureText(value, digits), "", "", value};
          }};
}

// A field that holds a number.
RecordColumn NumberField(const std::string& name, const std::string& field) {
  return {name, {field}, [field](const PageRecord& record) {
            const std::string text = FieldOr(record, field, "-");
            double value = 0;
            const auto [end, error] =
                std::from_chars(text.data(), text.data() + text.size(), value);
            const bool is_number = error == std::errc() && end == text.data() + text.size();
            return HtmlCell{text, "", "", is_number ? std::optional(value) : std::nullopt};
          }};
}

HtmlCell TextCell(const PageRecord& record) {
  return {record.table.text.empty() ? "-" : record.table.text};
}

HtmlCell ProtocolFact(const PageRecord& record) {
  const TableRecord& table = record.table;
  if (!table.stored.HasAccuracy()) return {"-"};
  const bool bos = table.stored.Fact("protocol.bos") != "false";
  return {fmt::format(
      "{} on {} (text {}, tokens {}), {} windows", ProtocolText(table.stored.cell.protocol, bos),
      table.text, ShortHash(table.text_sha256),
      ShortHash(table.stored.Fact("protocol.token_sha256")), table.stored.window_nll.size())};
}

HtmlCell ModelFact(const PageRecord& record) {
  const std::string weights = FieldOr(record, "model.sha256", "");
  return {record.table.Field("model") +
          (weights.empty() ? "" : " (weights " + ShortHash(weights) + ")")};
}

HtmlCell MachineFact(const PageRecord& record) {
  return {fmt::format("{}, {}, {} threads", FieldOr(record, "cpu", "-"),
                      FieldOr(record, "isa", "-"), FieldOr(record, "environment.threads", "-"))};
}

HtmlCell BuildFact(const PageRecord& record) {
  return {fmt::format("{}, {}", FieldOr(record, "environment.compiler", "-"),
                      FieldOr(record, "environment.blas", "-"))};
}

}  // namespace

const std::vector<RecordColumn>& TextColumns() {
  static const std::vector<RecordColumn> columns = {
      Field("record", "id"),
      Field("config", "config"),
      Field("method", "method"),
      Field("model", "model"),
      Field("weights", "scheme"),
      Stamps(),
      Field("protocol", "protocol"),
      {"text", {}, TextCell},
      Calibration("calibration"),
      Field("created", "created"),
      {"run of its cell",
       {},
       [](const PageRecord& r) { return HtmlCell{r.newest ? "newest" : "older"}; }},
      Commit("commit"),
      Field("run", "run"),
      Field("path", "path"),
      Field("ISA", "isa"),
      Field("CPU", "cpu"),
      Field("compiler", "environment.compiler"),
      Field("BLAS", "environment.blas"),
      Field("system", "environment.os"),
      Field("machine busy", "throughput.busy"),
      Hash("config hash", "config.sha256"),
      Hash("text hash", "dataset.sha256"),
      Hash("token hash", "protocol.token_sha256"),
      Hash("calibration hash", "calibration.token_sha256"),
      Hash("model hash", "model.sha256"),
      Hash("packed weights", "hashes.packed_weights"),
      Hash("first logits", "hashes.first_window_logits"),
  };
  return columns;
}

const std::vector<RecordColumn>& NumberColumns() {
  static const std::vector<RecordColumn> columns = {
      Number("PPL", "ppl", 4),
      Number("bits/weight", "effective_bits", 3),
      NumberField("windows", "protocol.windows"),
      NumberField("threads", "environment.threads"),
      NumberField("free cores before", "throughput.free_cores.before"),
      NumberField("after", "throughput.free_cores.after"),
  };
  return columns;
}

const std::vector<RecordColumn>& SummaryFacts() {
  static const std::vector<RecordColumn> facts = {
      Field("configs", "config"),
      Field("methods", "method"),
      {"models", {"model", "model.sha256"}, ModelFact},
      {"protocols", {}, ProtocolFact},
      Calibration("calibration"),
      {"machines", {"cpu", "isa", "environment.threads"}, MachineFact},
      {"built with", {"environment.compiler", "environment.blas"}, BuildFact},
      Commit("commits"),
  };
  return facts;
}

std::vector<std::string> PageFields() {
  std::vector<std::string> fields = {"seed"};  // of findings
  for (const auto* columns : {&TextColumns(), &NumberColumns(), &SummaryFacts()}) {
    for (const RecordColumn& column : *columns)
      fields.insert(fields.end(), column.fields.begin(), column.fields.end());
  }
  return fields;
}

}  // namespace quantref
