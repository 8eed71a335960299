#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "harness/base/check.h"
#include "harness/formats/open_foreign.h"
#include "harness/io/json_file.h"
#include "harness/io/safetensors.h"
#include "harness/testing/fuzz.h"

namespace quantref {
namespace {

constexpr char kFuzzedMatrix[] = "model.layers.0.self_attn.q_proj";

void CheckNumbers(const Weight& weight, size_t rows, size_t cols) {
  QR_CHECK_EQ(weight.rows(), rows);
  QR_CHECK_EQ(weight.cols(), cols);
  const Matrix<float> values = weight.Decode();
  for (size_t i = 0; i < rows * cols; ++i) QR_CHECK(!std::isnan(values.data()[i]));
}

// A line of JSON, {"rows", "cols", "settings"}, and a safetensors file: whatever the two say, the
// matrix has numbers in its shape, its other reading too, or there is an Error.
void FuzzForeign(std::string_view input) {
  const size_t line = std::min(input.find('\n'), input.size());
  const nlohmann::json head = ParseJson(input.substr(0, line), "input");
  const JsonFields fields(head, "input");
  const size_t rows = fields.Count("rows", 1, 256), cols = fields.Count("cols", 1, 512);
  const testing::InputFile file(input.substr(std::min(line + 1, input.size())));
  const SafetensorsFile opened = SafetensorsFile::Open(file.path());
  ForeignFolder folder;
  folder.find = [&](std::string_view name) { return opened.Find(name); };
  for (const Tensor& tensor : opened.tensors()) folder.names.push_back(tensor.name);
  folder.where = "input";
  folder.settings = fields.Has("settings") ? head["settings"] : nlohmann::json::object();
  folder.settings_where = "input, settings";
  const auto checkpoint = OpenForeignFolder(std::move(folder));
  std::vector<CountedNote> notes;
  checkpoint->Others(notes);
  const auto found = checkpoint->Find(kFuzzedMatrix, rows, cols);
  if (!found) return;
  const Weight weight = found->read(notes);
  CheckNumbers(weight, rows, cols);
  QR_CHECK(weight.CodesSha256().size() == 64);
  if (found->other) CheckNumbers(found->other->read(), rows, cols);
}

const testing::AddFuzzTarget foreign_target({"harness/formats", "foreign", FuzzForeign});

}  // namespace
}  // namespace quantref
