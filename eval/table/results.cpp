#include "eval/table/results.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <tuple>

#include "eval/record/reference.h"
#include "harness/base/parallel.h"
#include "harness/io/json_file.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

Result MakeResult(Json json, const fs::path& file) {
  TableRecord table = ReadTableRecord(json, file, {});
  return {std::move(json), std::move(table)};
}

Results ReadFiles(const std::vector<fs::path>& files, size_t threads) {
  std::vector<Results> read(files.size());
  ParallelFor(files.size(), threads, [&](size_t i, size_t) {
    Json json = ReadJsonFile(files[i]);
    if (!json.is_array()) json = Json::array({std::move(json)});
    for (Json& record : json) read[i].push_back(MakeResult(std::move(record), files[i]));
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

// Where the method stands in its config, from 1; 0: the reference.
size_t PlaceOf(const Result& result) {
  const std::string& method = result.cell().method;
  if (IsReferenceName(method)) return 0;
  const Json* methods = result.Fields().Find("config.resolved.quantize.methods");
  if (methods == nullptr || !methods->is_array()) return 1;
  const auto found = std::find_if(methods->begin(), methods->end(), [&](const Json& entry) {
    return entry.is_object() ? entry.value("label", Json()) == method : entry == method;
  });
  return 1 + static_cast<size_t>(found - methods->begin());
}

}  // namespace

std::string Result::Label() const {
  std::string label = cell().method;
  if (cell().seed) label += " seed=" + std::to_string(*cell().seed);
  return label;
}

Result ParseResult(std::string_view json, const fs::path& file) {
  return MakeResult(ParseJson(json, file.string()), file);
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
