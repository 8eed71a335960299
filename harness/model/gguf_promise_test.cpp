#include "harness/model/gguf_promise.h"

#include <catch2/catch.hpp>

#include "harness/testing/gguf_builder.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

std::string NamedType(const std::string& file_name) {
  const auto promise = PromiseOfName(file_name);
  return promise ? promise->name + " " + promise->type : "";
}

TEST_CASE("gguf_promise: the type in a file's name", "[gguf_promise]") {
  CHECK(NamedType("model-q4_k_m.gguf") == "Q4_K_M Q4_K");
  CHECK(NamedType("Model.IQ4_XS.gguf") == "IQ4_XS IQ4_XS");
  CHECK(NamedType("smollm2-135m-instruct-Q8_0.gguf") == "Q8_0 Q8_0");
  CHECK(NamedType("a-Q2_K.gguf") == "Q2_K Q2_K");
  CHECK(NamedType("m.f16.gguf") == "F16 F16");
  CHECK(NamedType("m-Q3_K_XL-00001-of-00002.gguf") == "Q3_K_XL Q3_K");
  CHECK(NamedType("llama_q4_k_m.gguf") == "Q4_K_M Q4_K");
  CHECK(NamedType("q8_0_llama_7b.gguf") == "Q8_0 Q8_0");
  CHECK(NamedType("q4_0x_q4_0-imatrix.gguf") == "Q4_0 Q4_0");
  CHECK(NamedType("llama_2_iq4_nl_s1.gguf") == "IQ4_NL IQ4_NL");
  CHECK(NamedType("bf16model.gguf").empty());
  CHECK(NamedType("xq4_0.gguf").empty());
  CHECK(NamedType("model.gguf").empty());
  CHECK(NamedType("").empty());
}

TEST_CASE("gguf_promise: general.file_type", "[gguf_promise]") {
  const testing::TempDir dir;
  const auto of_key = [&](uint32_t number) {
    testing::GgufBuilder().U32("general.file_type", number).Write(dir / "m.gguf");
    const auto promise = PromiseOfKey(GgufFile::Open(dir / "m.gguf"));
    return promise ? promise->name + " " + promise->type : "";
  };
  CHECK(of_key(15) == "Q4_K_M Q4_K");
  CHECK(of_key(7) == "Q8_0 Q8_0");
  CHECK(of_key(1024).empty());
  testing::GgufBuilder().Write(dir / "m.gguf");
  CHECK_FALSE(PromiseOfKey(GgufFile::Open(dir / "m.gguf")).has_value());
}

}  // namespace
}  // namespace quantref
