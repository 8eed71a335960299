#include "eval/table/results.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <tuple>

#include "eval/record/reference.h"
#include "harness/base/parallel.h"
#include "harness/io/json_reader.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using Document = std::shared_ptr<const JsonDocument>;

// With the fields that tables of results name.
Result MakeResult(const Document& document, JsonValue json, const fs::path& file) {
  return {document, json,
          ReadTableRecord(json, file, {"config", "method", "model", "scheme", "seed"})};
}

Results ReadFiles(const std::vector<fs::path>& files, size_t threads) {
  std::vector<Results> read(files.size());
  ParallelFor(files.size(), threads, [&](size_t i, size_t) {
    const auto document = std::make_shared<const JsonDocument>(JsonDocument::Read(files[i]));
    const JsonValue root = document->root();
    for (const JsonValue record : root.IsList() ? root.Items() : std::vector{root})
      read[i].push_back(MakeResult(document, record, files[i]));
  });
  Results all;
  for (Results& some : read) std::move(some.begin(), some.end(), std::back_inserter(all));
  return all;
}

// Equal for records of one run on the same windows. Records without a run's id were made in the
// same second.
std::string RunKey(const Result& result) {
  const StoredRecord& record = result.table.stored;
  return result.Fields().TextOr("run", record.created) + record.cell.model + record.cell.protocol +
         record.Fact("model.sha256") + record.Fact("model.outliers") +
         record.Fact("protocol.token_sha256") + (record.HasAccuracy() ? "" : record.cell.config);
}

// The methods that the record's config has and the candidates behind them, none where it says none.
std::vector<JsonValue> MethodEntries(const RecordFields& fields) {
  std::vector<JsonValue> entries;
  for (const char* path : {"config.resolved.quantize.methods", "config.resolved.candidates"}) {
    const auto list = fields.Find(path);
    if (!list || !list->IsList()) continue;
    const std::vector<JsonValue> items = list->Items();
    entries.insert(entries.end(), items.begin(), items.end());
  }
  return entries;
}

bool IsMethodEntry(JsonValue entry, std::string_view method) {
  const std::optional<JsonValue> label = entry.IsText() ? entry : entry.Find("label");
  return label && label->IsText() && label->Text() == method;
}

// Where the method stands in its config, from 1; 0: the reference.
size_t PlaceOf(const Result& result) {
  const std::string& method = result.cell().method;
  if (IsReferenceName(method)) return 0;
  const std::vector<JsonValue> entries = MethodEntries(result.Fields());
  const auto found =
      std::ranges::find_if(entries, [&](JsonValue entry) { return IsMethodEntry(entry, method); });
  return 1 + static_cast<size_t>(found - entries.begin());
}

}  // namespace

std::string Result::Label() const {
  std::string label = cell().method;
  if (cell().seed) label += " seed=" + std::to_string(*cell().seed);
  return label;
}

Result ParseResult(std::string_view json, const fs::path& file) {
  const auto document =
      std::make_shared<const JsonDocument>(JsonDocument::Parse(json, file.string()));
  return MakeResult(document, document->root(), file);
}

std::vector<Results> ReadResults(const std::vector<fs::path>& files, size_t threads) {
  std::map<std::string, Results> by_key;
  for (Result& result : ReadFiles(files, threads))
    by_key[RunKey(result)].push_back(std::move(result));
  std::vector<Results> runs;
  for (auto& [key, run] : by_key) {
    const auto place = [](const Result& result) {
      return std::tuple(result.cell().config, PlaceOf(result), result.cell().seed);
    };
    std::ranges::stable_sort(run, {}, place);
    runs.push_back(std::move(run));
  }
  std::ranges::stable_sort(runs, {}, [](const Results& run) {
    const auto created = [](const Result& result) { return result.table.stored.created; };
    return created(*std::ranges::min_element(run, {}, created));
  });
  return runs;
}

}  // namespace quantref
