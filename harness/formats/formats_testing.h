#pragma once

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "harness/formats/open_foreign.h"
#include "harness/io/checkpoint.h"
#include "harness/testing/testing.h"
#include "harness/testing/tiny_model.h"

// Folders of other tools for tests: the goldens (scripts/goldens/foreign_checkpoints.py), and what
// becomes of them when one thing is changed.

namespace quantref::testing {

inline constexpr char kMatrix[] = "model.layers.0.self_attn.q_proj";  // of every golden

inline std::filesystem::path ForeignGoldens() { return SourceDir() / "harness/formats/testdata"; }

inline nlohmann::json JsonOf(const std::filesystem::path& path) {
  std::ifstream file(path);
  REQUIRE(file.good());
  return nlohmann::json::parse(file);
}

inline std::vector<std::string> GoldenKinds() {
  std::vector<std::string> kinds;
  const nlohmann::json expected = JsonOf(ForeignGoldens() / "expected.json");
  for (const auto& [kind, matrices] : expected.items()) kinds.push_back(kind);
  return kinds;
}

// A golden in memory.
struct ForeignGolden {
  explicit ForeignGolden(const std::string& kind) {
    const std::filesystem::path dir = ForeignGoldens() / kind;
    config = JsonOf(dir / "config.json");
    const nlohmann::json all = JsonOf(ForeignGoldens() / "expected.json");
    expected = all.at(kind).at(0);
    const SafetensorsFile file = SafetensorsFile::Open(dir / "model.safetensors");
    for (const Tensor& tensor : file.tensors()) {
      tensors[tensor.name] = {std::string(DTypeName(tensor.dtype)),
                              tensor.shape,
                              {reinterpret_cast<const char*>(tensor.data), tensor.bytes}};
    }
  }

  nlohmann::json& settings() { return config["quantization_config"]; }
  FileTensor& at(const std::string& part) { return tensors.at(kMatrix + ("." + part)); }
  void Remove(const std::string& part) { tensors.erase(kMatrix + ("." + part)); }
  template <typename T>
  T* numbers(const std::string& part) {
    return reinterpret_cast<T*>(at(part).bytes.data());
  }
  size_t rows() const { return expected.at("rows"); }
  size_t cols() const { return expected.at("cols"); }

  nlohmann::json config, expected;
  FileTensors tensors;
};

// It as a folder, opened; the folder is there as long as this.
struct ForeignFiles {
  explicit ForeignFiles(const ForeignGolden& golden) {
    WriteFile(dir / "config.json", golden.config.dump());
    WriteTensors(dir.path(), golden.tensors);
    opened = OpenForeign(dir.path(), Checkpoint::Open(dir.path()));
  }
  TempDir dir;
  std::shared_ptr<const ForeignCheckpoint> opened;
};

// The golden's matrix, found and read.
struct ReadForeign {
  explicit ReadForeign(const ForeignGolden& golden) : files(golden) {
    REQUIRE(files.opened != nullptr);
    found = files.opened->Find(kMatrix, golden.rows(), golden.cols());
    if (found) weight = found->read(notes);
  }
  ForeignFiles files;
  std::optional<ForeignMatrix> found;
  Weight weight;
  std::vector<CountedNote> notes;

  size_t NoteCount(std::string_view part) const {
    for (const CountedNote& note : notes) {
      if (Contains(note.what, part)) return note.count;
    }
    return 0;
  }
};

// The message for the golden with another value for a setting.
inline std::string Refusal(const std::string& kind, const std::string& key,
                           const nlohmann::json& value) {
  ForeignGolden golden(kind);
  golden.settings()[key] = value;
  return ErrorMessage([&] { ReadForeign read(golden); });
}

inline std::vector<float> ValuesOf(const Weight& weight) {
  const Matrix<float> values = weight.Decode();
  std::vector<float> all(values.data(), values.data() + values.rows() * values.cols());
  for (float& value : all) value += 0.0f;  // -0 is 0
  return all;
}

}  // namespace quantref::testing
