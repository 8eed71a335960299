// What a page says first.

#include "eval/report/findings.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "eval/testing/sample_record.h"
#include "eval/testing/table_lab.h"

namespace quantref {
namespace {

using Json = nlohmann::json;
using testing::Contains;
using testing::TableLab;
using testing::TableSample;

class Page {
 public:
  void Add(const Json& record) {
    files_.push_back(lab_ / ("records/" + lab_.Add(record) + ".json"));
  }
  std::vector<PageRecord> Records() const { return ReadPageRecords(files_, {}, 1); }

 private:
  TableLab lab_;
  std::vector<std::filesystem::path> files_;
};

TEST_CASE("findings: of each scheme the method that changes PPL least, and what is no different") {
  Page page;
  page.Add(TableSample("fp16"));
  page.Add(TableSample("rtn", 0.06, 0.001));
  page.Add(TableSample("gptq", 0.02, 0.002));
  const std::string one = FindingsHtml(page.Records(), 1);
  INFO(one);
  CHECK(one.find(">gptq</a>") < one.find(", better than "));
  CHECK(one.find(", better than ") < one.find(">rtn</a>"));
  page.Add(TableSample("awq", 0.0201, 0.004));
  const std::string two = FindingsHtml(page.Records(), 1);
  INFO(two);
  CHECK(two.find(">awq</a>") < two.find(" are no different, better than "));
  CHECK(two.find(">gptq</a>") < two.find(" are no different, better than "));
  Json doubtful = TableSample("file", 0.001, 0.004);
  doubtful["candidate"] = {{"name", "file"},
                           {"notes", {{{"what", "MISREAD"}, {"count", 1}, {"doubtful", true}}}}};
  page.Add(doubtful);
  const std::string three = FindingsHtml(page.Records(), 1);
  INFO(three);
  CHECK(three.find(">rtn</a>") < three.find("; not compared: "));
  CHECK(three.find("; not compared: ") < three.find(">file</a>"));
  CHECK_FALSE(Contains(three, " bits"));
  Json keeps = TableSample("keeps", 0.001, 0.002);
  keeps["effective_bits"] = 6.69;
  page.Add(keeps);
  CHECK(Contains(FindingsHtml(page.Records(), 1), " at 6.69 bits, better than "));
}

TEST_CASE("findings: none where nothing was compared with a reference") {
  Page page;
  page.Add(TableSample("fp16"));
  CHECK(FindingsHtml(page.Records(), 1).empty());
}

TEST_CASE("failures: gates of the newest records, and cells that are worse than the baseline") {
  Page page;
  page.Add(TableSample("gptq", 0.02, 0.002));
  CHECK(FailuresHtml(page.Records(), std::nullopt).empty());
  Json failed = TableSample("rtn", 0.06, 0.001);
  failed["simulated_vs_kernel"] = {{"failed", true}};
  page.Add(failed);
  CHECK(Contains(FailuresHtml(page.Records(), std::nullopt), ">tiny rtn</a>: GATE FAILED"));

  RecordSet before{"before", true, {testing::Stored(TableSample("rtn"))}};
  RecordSet now{"now", true, {testing::Stored(TableSample("rtn", 0.06, 0.001))}};
  const std::string html = FailuresHtml({}, CompareSets(before, now, 0.002, 1));
  INFO(html);
  CHECK(Contains(html, "<b>against the baseline</b>"));
  CHECK(Contains(html, "1 worse"));
}

}  // namespace
}  // namespace quantref
