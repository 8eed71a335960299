#include "harness/io/safetensors.h"

#include <catch2/catch.hpp>
#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "harness/base/rng.h"
#include "harness/testing/safetensors_builder.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::SafetensorsBuilder;
using testing::TempDir;

// Three tensors and metadata; 28 bytes of data.
SafetensorsBuilder Valid() {
  const float floats[] = {1, 2, 3, 4, 5};
  SafetensorsBuilder builder;
  builder.Metadata("format", "pt");
  builder.AddFloats("weights", {1, 5}, floats);
  builder.Add("halves", "BF16", {2, 1, 2}, "abcdefgh").Add("empty", "I64", {0, 7}, "");
  return builder;
}

// Writes the file that the builder makes and opens it.
SafetensorsFile Opened(const SafetensorsBuilder& builder, const TempDir& dir) {
  builder.Write(dir / "m.safetensors");
  return SafetensorsFile::Open(dir / "m.safetensors");
}

// Opens a file whose header is the valid one, patched (RFC 7386: null removes a key), and 28 bytes
// of data.
SafetensorsFile OpenedWithPatch(const char* patch) {
  const TempDir dir;
  json header = json::parse(Valid().Header());
  header.merge_patch(json::parse(patch));
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  return Opened(Valid().OverrideHeader(text), dir);
}

SafetensorsFile OpenedWithHeader(const std::string& header) {
  const TempDir dir;
  return Opened(SafetensorsBuilder().OverrideHeader(header), dir);
}

SafetensorsFile OpenedBytes(const std::string& bytes) {
  const TempDir dir;
  testing::WriteFile(dir / "m.safetensors", bytes);
  return SafetensorsFile::Open(dir / "m.safetensors");
}

TEST_CASE("safetensors: dtypes have the names and sizes of the format", "[safetensors]") {
  CHECK(DTypeName(DType::kF16) == "F16");
  CHECK(DTypeName(DType::kBF16) == "BF16");
  CHECK(DTypeName(DType::kF32) == "F32");
  CHECK(DTypeBytes(DType::kF16) == 2);
  CHECK(DTypeBytes(DType::kBF16) == 2);
  CHECK(DTypeBytes(DType::kF32) == 4);
  CHECK(DTypeBytes(DType::kF8E4M3) == 1);
  CHECK(DTypeBytes(DType::kC64) == 8);
}

TEST_CASE("safetensors: a valid file is read", "[safetensors]") {
  const TempDir dir;
  SafetensorsFile original = Opened(Valid(), dir);
  const SafetensorsFile file = std::move(original);
  CHECK(file.path() == dir / "m.safetensors");
  CHECK(file.file_bytes().size() == fs::file_size(dir / "m.safetensors"));
  REQUIRE(file.tensors().size() == 3);
  CHECK(file.tensors()[0].name == "empty");  // by name
  CHECK(file.Find("nothing") == nullptr);
  CHECK(file.Find("__metadata__") == nullptr);

  const Tensor* const weights = file.Find("weights");
  REQUIRE(weights != nullptr);
  CHECK(weights->dtype == DType::kF32);
  CHECK(weights->shape == std::vector<size_t>{1, 5});
  REQUIRE(weights->bytes == 20);
  float last = 0;
  std::memcpy(&last, weights->data + 16, sizeof last);
  CHECK(last == 5);
  CHECK(reinterpret_cast<uintptr_t>(weights->data) % 4 == 0);

  const Tensor* const halves = file.Find("halves");
  REQUIRE(halves != nullptr);
  CHECK(std::memcmp(halves->data, "abcdefgh", 8) == 0);
  CHECK(file.Find("empty")->bytes == 0);
}

TEST_CASE("safetensors: corner cases of the format are valid", "[safetensors]") {
  CHECK(OpenedWithHeader("{}").tensors().empty());
  CHECK(OpenedWithHeader("{\"__metadata__\": {}}   ").tensors().empty());
  const TempDir dir;
  const SafetensorsFile scalar =
      Opened(SafetensorsBuilder().Add("", "U8", {}, "x").Add("\"é\n", "BOOL", {1}, "y"), dir);
  CHECK(scalar.Find("")->shape.empty());
  CHECK(scalar.Find("\"é\n")->bytes == 1);
  CHECK(OpenedWithPatch(R"({"weights": {"extra": 1}})").tensors().size() == 3);
}

TEST_CASE("safetensors: the bundled model is read", "[safetensors]") {
  const auto file =
      SafetensorsFile::Open(testing::ReferenceModel("wikilm-2m") / "model.safetensors");
  const Tensor* const embedding = file.Find("model.embed_tokens.weight");
  REQUIRE(embedding != nullptr);
  CHECK(embedding->dtype == DType::kF16);
  CHECK(embedding->shape == std::vector<size_t>{8192, 128});
}

TEST_CASE("safetensors: a broken frame is refused", "[safetensors]") {
  CHECK_ERROR(OpenedBytes(""), "m.safetensors", "empty");
  CHECK_ERROR(OpenedBytes("\x01\x02\x03"), "at least 8 bytes", "found 3");
  CHECK_ERROR(OpenedBytes(std::string(8, '\0')), "found the header size 0");
  CHECK_ERROR(OpenedBytes(std::string(100, '\0')), "found the header size 0");
  CHECK_ERROR(OpenedBytes(std::string(100, '\xff')), "found the header size 18446744073709551615");
  CHECK_ERROR(OpenedBytes("version https://git-lfs.github.com/spec/v1\noid sha256:12"), "Git LFS",
              "git lfs pull");
  const TempDir dir;
  const size_t header_size = Valid().Header().size();
  CHECK_ERROR(Opened(Valid().OverrideHeaderSize(100'000'001), dir), "at most 100000000",
              "found the header size 100000001");
  CHECK_ERROR(Opened(Valid().OverrideHeaderSize(header_size + 29), dir), "cut short",
              "header of " + std::to_string(header_size + 29),
              "found " + std::to_string(header_size + 28));
  CHECK_ERROR(Opened(Valid().OverrideHeaderSize(header_size + 1), dir), "header:1:", "JSON");
  CHECK_ERROR(Opened(Valid().OverrideHeaderSize(header_size - 30), dir), "header:1:", "JSON");
}

TEST_CASE("safetensors: a header that is no JSON object is refused", "[safetensors]") {
  CHECK_ERROR(OpenedWithHeader("[1]"), "m.safetensors", "starts with '{'", "found \"[\"");
  CHECK_ERROR(OpenedWithHeader(" {}"), "starts with '{'");
  CHECK_ERROR(OpenedWithHeader("{\"a\": "), "m.safetensors, header:1:", "invalid JSON");
  CHECK_ERROR(OpenedWithHeader("{\"\xff\": 1}"), "expected UTF-8");
  const std::string brackets(1000, '[');
  CHECK_ERROR(OpenedWithHeader("{\"a\": " + brackets), "nested too deeply");
  CHECK_ERROR(OpenedWithHeader(R"({"w": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]},
                                   "w": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}})"),
              "at \"w\"", "duplicate key");
}

TEST_CASE("safetensors: metadata must be a map of strings", "[safetensors]") {
  CHECK_ERROR(OpenedWithHeader(R"({"__metadata__": [1, 2]})"), "__metadata__", "map of strings",
              "found [1,2]");
  CHECK_ERROR(OpenedWithHeader(R"({"__metadata__": {"a": 1}})"), "key \"a\"", "found 1");
}

TEST_CASE("safetensors: a tensor's fields must be there and of the right type", "[safetensors]") {
  const std::string tensor = "tensor \"weights\"";
  CHECK_ERROR(OpenedWithPatch(R"({"weights": 7})"), tensor, "expected an object", "found 7");
  CHECK_ERROR(OpenedWithPatch(R"({"weights": {"dtype": null}})"), tensor,
              "\"dtype\", found nothing");
  CHECK_ERROR(OpenedWithPatch(R"({"weights": {"dtype": 3}})"), tensor, "dtype", "found 3");
  CHECK_ERROR(OpenedWithPatch(R"({"weights": {"dtype": "F33"}})"), tensor, "unknown dtype", "BF16",
              "found \"F33\"");
  CHECK_ERROR(OpenedWithPatch(R"({"weights": {"shape": null}})"), tensor,
              "\"shape\", found nothing");
  CHECK_ERROR(OpenedWithPatch(R"({"weights": {"shape": "5"}})"), tensor, "shape", "found \"5\"");
  CHECK_ERROR(OpenedWithPatch(R"({"weights": {"shape": [1, -5]}})"), tensor, "shape", "found -5");
  CHECK_ERROR(OpenedWithPatch(R"({"weights": {"shape": [1, 5.0]}})"), tensor, "shape", "found 5.0");
  CHECK_ERROR(OpenedWithPatch(R"({"weights": {"shape": [1, [5]]}})"), tensor, "shape", "found [5]");
  CHECK_ERROR(OpenedWithPatch(R"({"weights": {"shape": [true, 5]}})"), tensor, "found true");
  CHECK_ERROR(OpenedWithPatch(R"({"weights": {"shape": [18446744073709551616]}})"), tensor,
              "2^64-1", "found 1.8446");
  CHECK_ERROR(OpenedWithPatch(R"({"weights": {"data_offsets": null}})"), tensor,
              "\"data_offsets\", found nothing");
  CHECK_ERROR(OpenedWithPatch(R"({"weights": {"data_offsets": {"a": 0}}})"), tensor,
              "data_offsets");
  CHECK_ERROR(OpenedWithPatch(R"({"weights": {"data_offsets": [0]}})"), tensor, "found 1");
  CHECK_ERROR(OpenedWithPatch(R"({"weights": {"data_offsets": [0, 20, 20]}})"), tensor, "found 3");
  CHECK_ERROR(OpenedWithPatch(R"({"weights": {"data_offsets": [0, -20]}})"), tensor, "found -20");
  CHECK_ERROR(OpenedWithPatch(R"({"weights": {"data_offsets": [0.5, 20]}})"), tensor, "found 0.5");
}

TEST_CASE("safetensors: sizes must agree", "[safetensors]") {
  const std::string tensor = "tensor \"weights\"";
  CHECK_ERROR(OpenedWithPatch(R"({"weights": {"data_offsets": [20, 0]}})"), tensor, "begin 20",
              "end 0");
  CHECK_ERROR(OpenedWithPatch(R"({"weights": {"data_offsets": [9, 29]}})"), tensor, "cut short",
              "end 29", "found 28");
  CHECK_ERROR(OpenedWithPatch(R"({"weights": {"data_offsets": [0, 18446744073709551615]}})"),
              tensor, "cut short");
  CHECK_ERROR(OpenedWithPatch(R"({"weights": {"shape": [1, 4]}})"), tensor, "expected 16 bytes",
              "span 20");
  CHECK_ERROR(OpenedWithPatch(R"({"weights": {"dtype": "F64"}})"), tensor, "expected 40 bytes");
  CHECK_ERROR(OpenedWithPatch(R"({"weights": {"shape": [4294967296, 4294967296]}})"), tensor,
              "fewer than 2^64 bytes");
  CHECK_ERROR(OpenedWithPatch(R"({"weights": {"shape": [4611686018427387909]}})"), tensor,
              "fewer than 2^64 bytes");  // 2^62 + 5 elements of 4 bytes: 20 if it wrapped
}

TEST_CASE("safetensors: the tensors must cover the data without gap or overlap", "[safetensors]") {
  CHECK_ERROR(OpenedWithPatch(R"({"halves": {"data_offsets": [18, 26]}})"), "tensor \"halves\"",
              "overlap", "begin 20", "tensor \"weights\" ends", "found 18");
  CHECK_ERROR(OpenedWithPatch(R"({"weights": null})"), "tensor \"halves\"", "hole", "begin 0",
              "the start of the data", "found 20");
  CHECK_ERROR(OpenedWithPatch(R"({"weights": {"shape": [4], "data_offsets": [0, 16]}})"),
              "tensor \"halves\"", "hole", "begin 16", "found 20");
  CHECK_ERROR(OpenedWithPatch(R"({"halves": null, "empty": null})"), "belong to no tensor",
              "expected 20", "found 28");
  CHECK_ERROR(OpenedWithPatch(R"({"empty": {"data_offsets": [4, 4]}})"), "overlap");
  CHECK_NOTHROW(OpenedWithPatch(R"({"empty": {"data_offsets": [0, 0]}})"));
  CHECK_NOTHROW(OpenedWithPatch(R"({"empty": {"data_offsets": [20, 20]}})"));
}

TEST_CASE("safetensors: data at unaligned offsets is what it is at aligned ones", "[safetensors]") {
  const TempDir dir;
  const auto floats = [](const SafetensorsFile& file) {
    const Tensor* tensor = file.Find("weights");
    CHECK(reinterpret_cast<uintptr_t>(tensor->data) % sizeof(float) == 0);
    const float* values = reinterpret_cast<const float*>(tensor->data);
    return std::vector<float>(values, values + 5);
  };
  const std::vector<float> expected = {1, 2, 3, 4, 5};
  const SafetensorsFile aligned = Opened(Valid(), dir);
  CHECK(floats(aligned) == expected);
  CHECK(aligned.copied_bytes() == 0);
  std::string header = Valid().Header();
  header.pop_back();  // one space of the padding
  SafetensorsFile opened = Opened(Valid().OverrideHeader(header), dir);
  CHECK(opened.copied_bytes() == 28);  // the five floats and the four halves
  const SafetensorsFile moved = std::move(opened);
  CHECK(floats(moved) == expected);
  CHECK(std::memcmp(moved.Find("halves")->data, "abcdefgh", 8) == 0);
  CHECK(moved.Find("empty")->bytes == 0);

  const SafetensorsBuilder odd =
      SafetensorsBuilder().Add("byte", "U8", {1}, "x").Add("half", "F16", {1}, "ab");
  const SafetensorsFile mixed = Opened(odd, dir);
  CHECK(std::memcmp(mixed.Find("half")->data, "ab", 2) == 0);
  CHECK(mixed.copied_bytes() == 2);
}

TEST_CASE("safetensors: names from the file are made harmless in messages", "[safetensors]") {
  const std::string tail(100'000, 'n');
  const std::string message =
      testing::ErrorMessage([&] { OpenedWithHeader("{\"\\u001b[2J" + tail + "\": 1}"); });
  CHECK(message.find('\x1b') == std::string::npos);
  CHECK(message.size() < 1000);
}

// Opens a damaged file: an Error, or tensors that are aligned and lie inside the file, or are
// copies of what does. Returns whether it opened.
bool OpensSafely(const fs::path& path) {
  try {
    const SafetensorsFile file = SafetensorsFile::Open(path);
    const std::span<const std::byte> all = file.file_bytes();
    unsigned sum = 0;
    size_t copied = 0;
    for (const Tensor& tensor : file.tensors()) {
      const bool inside = tensor.data >= all.data() && tensor.bytes <= all.size() &&
                          tensor.data <= all.data() + all.size() - tensor.bytes;
      copied += inside ? 0 : tensor.bytes;
      if (copied > file.copied_bytes() ||
          (tensor.bytes > 0 &&
           reinterpret_cast<uintptr_t>(tensor.data) % DTypeBytes(tensor.dtype) != 0)) {
        FAIL("tensor " << tensor.name << " is neither inside the file nor a copy");
      }
      for (size_t i = 0; i < tensor.bytes; ++i) sum += std::to_integer<unsigned>(tensor.data[i]);
    }
    return sum > 0 || file.tensors().empty();
  } catch (const Error& error) {
    if (std::string_view(error.what()).find(path.string()) == std::string_view::npos) {
      FAIL("the message does not name the file: " << error.what());
    }
    return false;
  }
}

std::string DamagedBytes(std::string bytes, Rng& rng) {
  for (uint64_t flips = 1 + rng.Below(8); flips > 0; --flips) {
    // Mostly in the header size and the header.
    const size_t limit = rng.Below(4) == 0 ? bytes.size() : std::min<size_t>(bytes.size(), 300);
    bytes[rng.Below(limit)] ^= static_cast<char>(1u << rng.Below(8));
  }
  if (rng.Below(4) == 0) bytes.resize(1 + rng.Below(bytes.size()));
  return bytes;
}

// Replaces, inserts or removes characters that mean something in the header.
std::string DamagedHeader(std::string header, Rng& rng) {
  static constexpr std::string_view kAlphabet = "0123456789-.eE+{}[]\",: nulltrue\\x\n";
  for (uint64_t edits = 1 + rng.Below(4); edits > 0 && !header.empty(); --edits) {
    const size_t at = rng.Below(header.size());
    const char character = kAlphabet[rng.Below(kAlphabet.size())];
    switch (rng.Below(3)) {
      case 0:
        header[at] = character;
        break;
      case 1:
        header.insert(at, 1, character);
        break;
      default:
        header.erase(at, 1 + rng.Below(3));
        break;
    }
  }
  return header;
}

// Puts a hostile value at one of the places where the header has a value.
std::string HeaderWithOddValue(const std::string& header, Rng& rng) {
  static const json kOdd = json::parse(
      R"([-1, 0, 1, 2, 4, 8, 20, 28, 29, 1.5, 1e300, 18446744073709551615, 9223372036854775808,
          null, true, "", "F16", "U8", [], {}, [0], [0, 0], [0, 28], [28, 0],
          [4294967296, 4294967296], [18446744073709551615, 2], [9223372036854775809, 2, 2]])");
  json edited = json::parse(header);
  const json flat = edited.flatten();
  auto place = flat.begin();
  std::advance(place, static_cast<int>(rng.Below(flat.size())));
  json::json_pointer pointer(place.key());
  if (rng.Below(3) == 0) pointer = pointer.parent_pointer();
  edited[pointer] = kOdd[rng.Below(kOdd.size())];
  return edited.dump();
}

TEST_CASE("safetensors: thousands of damaged files give an Error or tensors inside the file",
          "[safetensors]") {
  const TempDir dir;
  const fs::path path = dir / "damaged.safetensors";
  Rng rng(20240607);
  int opened = 0;
  for (int round = 0; round < 6000; ++round) {
    INFO("round " << round);
    SafetensorsBuilder builder = Valid();
    if (round % 3 == 0) {
      testing::WriteFile(path, DamagedBytes(builder.Bytes(), rng));
    } else {
      std::string header = round % 3 == 1 ? DamagedHeader(builder.Header(), rng)
                                          : HeaderWithOddValue(builder.Header(), rng);
      if (rng.Below(2) == 0) header.append((8 - header.size() % 8) % 8, ' ');
      builder.OverrideHeader(header).Write(path);
    }
    opened += OpensSafely(path) ? 1 : 0;
  }
  // Some damage is harmless (a flipped bit of the data); if all or nothing opened, the damage would
  // not be what it says.
  CHECK(opened > 100);
  CHECK(opened < 3000);
}

}  // namespace
}  // namespace quantref
