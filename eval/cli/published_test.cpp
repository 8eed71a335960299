#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "eval/testing/process.h"
#include "eval/testing/run_eval_lab.h"
#include "harness/testing/testing.h"

// What is committed under results/ and shown in the README follows from the records beside it.

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::FileText;
using testing::ProcessResult;

fs::path Results() { return testing::SourceDir() / "results"; }
std::vector<fs::path> FilesIn(const fs::path& folder, const std::string& extension) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == extension) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

// The first lines of a text that begin so, as long as they follow each other: a table's with '|',
// answers with "- ".
std::vector<std::string> LinesThat(const std::string& begin, const std::string& markdown) {
  std::istringstream text(markdown);
  std::vector<std::string> lines;
  for (std::string line; std::getline(text, line);) {
    if (line.starts_with(begin)) {
      lines.push_back(line);
    } else if (!lines.empty()) {
      break;
    }
  }
  return lines;
}

// Holds what stands behind each mark of the page against the file that it names. Returns how many
// there are.
size_t CheckMarks(const std::string& page) {
  static const std::regex mark("<!-- (results/(tables|studies)/[a-z0-9_]+\\.md) (answers )?-->\n");
  const std::string text = FileText(testing::SourceDir() / page);
  size_t marks = 0;
  for (std::sregex_iterator at(text.begin(), text.end(), mark), end; at != end; ++at, ++marks) {
    INFO(page << ": " << at->str());
    const std::string behind = text.substr(static_cast<size_t>(at->position() + at->length()));
    const fs::path file = testing::SourceDir() / (*at)[1].str();
    if (!fs::exists(file)) {
      CHECK(behind.starts_with("> Not measured yet.\n"));
      continue;
    }
    const std::string begin = (*at)[3].matched ? "- " : "|";
    CHECK(behind.starts_with(begin));
    CHECK(LinesThat(begin, behind) == LinesThat(begin, FileText(file)));
  }
  return marks;
}

void CheckTable(const fs::path& spec) {
  const ProcessResult result =
      testing::RunProcess({testing::Program("make_tables"), spec.string(), "--check"});
  INFO(spec << '\n' << result.out << result.err);
  CHECK(result.exit_code == 0);
}

// What is equal for cells that were timed together: the run's id; of records without one the
// machine's figures, which were measured between the cells.
std::string RunOf(const nlohmann::json& record) {
  if (record.contains("run")) return record["run"];
  return record["throughput"]["roofline"].dump() + record["throughput"]["free_cores"].dump();
}

// All records of a model in the folder are by one clean commit, and in one run, unless what they show
// is how runs differ.
void CheckRecords(const fs::path& folder, bool one_run = true) {
  std::map<std::string, std::set<std::string>> commits, runs;  // by the model's hash
  for (const fs::path& file : FilesIn(folder, ".json")) {
    const nlohmann::json record = nlohmann::json::parse(FileText(file));
    INFO(file);
    CHECK(record["tool"]["dirty"] == false);
    commits[record["model"]["sha256"]].insert(record["tool"]["git_commit"]);
    runs[record["model"]["sha256"]].insert(RunOf(record));
  }
  INFO(folder);
  CHECK_FALSE(commits.empty());
  for (const auto& [model, of_model] : commits) CHECK(of_model.size() == 1);
  for (const auto& [model, of_model] : runs) CHECK((of_model.size() == 1 || !one_run));
}

TEST_CASE("published: all records of a model are by one clean commit, in one run") {
  CheckRecords(Results() / "published");
}

// One that was not measured yet has neither records nor a table.
TEST_CASE("published: studies are what their records give") {
  const std::vector<fs::path> specs = FilesIn(Results() / "studies", ".yaml");
  CHECK(specs.size() >= 5);
  const std::string page = FileText(Results() / "findings.md");
  for (const fs::path& spec : specs) {
    const std::string name = spec.stem().string();
    INFO(name);
    CHECK(fs::exists(testing::SourceDir() / "configs/studies" / (name + ".yaml")));
    CHECK(Contains(page, "<!-- results/studies/" + name + ".md"));
    const fs::path records = Results() / "studies" / name;
    CHECK(fs::exists(records) == fs::exists(Results() / "studies" / (name + ".md")));
    if (!fs::exists(records)) continue;
    CheckRecords(records, !Contains(FileText(spec), "analysis: arithmetic"));
    CheckTable(spec);
  }
}

TEST_CASE("published: tables are what their records give") {
  const std::vector<fs::path> specs = FilesIn(Results() / "tables", ".yaml");
  CHECK(specs.size() >= 3);
  for (const fs::path& spec : specs) CheckTable(spec);
}

TEST_CASE("published: pages show tables and answers as they are") {
  CHECK(CheckMarks("README.md") >= 1);
  CHECK(CheckMarks("results/findings.md") >= 10);
  const std::string readme = FileText(testing::SourceDir() / "README.md");
  CHECK(std::count(readme.begin(), readme.end(), '\n') <= 150);
}

// "[text](path)" of these pages leads to a file, and "(path#anchor)" to one.
TEST_CASE("published: links between the pages lead somewhere") {
  const std::regex link("\\]\\(([^)#:]+)(#[^)]*)?\\)");
  size_t links = 0;
  for (const char* page :
       {"README.md", "results/README.md", "results/comparing.md", "results/report.md",
        "results/findings.md", "results/tables/README.md", "results/plots/README.md",
        "results/baselines/README.md", "configs/README.md", ".github/CONTRIBUTING.md"}) {
    const fs::path file = testing::SourceDir() / page;
    const std::string text = FileText(file);
    for (std::sregex_iterator at(text.begin(), text.end(), link), end; at != end; ++at, ++links) {
      INFO(page << ": " << (*at)[1]);
      CHECK(fs::exists(file.parent_path() / (*at)[1].str()));
    }
  }
  CHECK(links > 15);
}

TEST_CASE("published: the report holds every record, the README's plots are there") {
  const std::string report = FileText(Results() / "report.html");
  const std::vector<fs::path> records = FilesIn(Results() / "published", ".json");
  CHECK(records.size() >= 5);
  for (const fs::path& record : records) {
    INFO(record);
    CHECK(Contains(report, nlohmann::json::parse(FileText(record))["id"].get<std::string>()));
  }
  const std::string readme = FileText(testing::SourceDir() / "README.md");
  const std::regex image("\\]\\((results/plots/[a-z_]+\\.svg)\\)");
  const std::sregex_iterator first(readme.begin(), readme.end(), image);
  CHECK(first != std::sregex_iterator());
  for (std::sregex_iterator at = first; at != std::sregex_iterator(); ++at)
    CHECK(fs::exists(testing::SourceDir() / (*at)[1].str()));
}

}  // namespace
}  // namespace quantref
