#include "eval/report/plots.h"

#include <catch2/catch.hpp>
#include <string>

#include "eval/report/spec.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

using testing::Contains;
using testing::TempDir;
using testing::WriteFile;

TEST_CASE("plots: each image is in the page, called what it says of itself or as its file") {
  const TempDir dir;
  WriteFile(dir / "ppl_by-bits.svg", "<svg/>");
  WriteFile(dir / "kl.svg", "<?xml version=\"1.0\"?><svg><title>KL &lt; 1</title></svg>");
  WriteFile(dir / ".hidden.svg", "<svg/>");
  const std::string html = PlotsHtml(dir.path());
  INFO(html);
  CHECK(Contains(html, "<b>KL &lt; 1</b>"));
  CHECK(Contains(html, "<b>ppl by bits</b>"));
  CHECK(Contains(html, "base64,PHN2Zy8+\""));
  CHECK_FALSE(Contains(html, "hidden"));
}

TEST_CASE("plots: what is no image, and a folder without any, are refused by name") {
  const TempDir dir;
  CHECK_ERROR(PlotsHtml(dir.path()), "expected plots (*.svg), found none");
  WriteFile(dir / "a.svg", "text");
  CHECK_ERROR(PlotsHtml(dir.path()), "expected an SVG image", "a.svg");
}

TEST_CASE("report spec: a key that is none is refused with the nearest") {
  const TempDir dir;
  const std::string file = (dir / "report.yaml").string();
  WriteFile(dir / "report.yaml", "title: A report\nrecords: [records]\nbasline: b.json\n");
  CHECK_ERROR(ReadReportSpec(file), "basline", "baseline");
  WriteFile(dir / "report.yaml", "title: A report\n");
  CHECK_ERROR(ReadReportSpec(file), "records");
}

}  // namespace
}  // namespace quantref
