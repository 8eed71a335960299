#include <string>
#include <vector>

#include "harness/base/check.h"
#include "harness/testing/fuzz.h"
#include "harness/tokenizer/tokenizer_json.h"

namespace quantref {
namespace {

constexpr size_t kMostFuzzed = size_t{1} << 26;

// What loads encodes text.
void FuzzTokenizerJson(std::string_view input) {
  const testing::InputFile file(input);
  const Tokenizer tokenizer = TokenizerOfJson(ReadInput(file.path(), kMostFuzzed), {});
  for (const std::string_view text :
       {std::string_view("Hello \xef\xbc\xa1\xff w\xc3\xb6rld 12\n\n\xe6\x97\xa5"),
        input.substr(0, 200)}) {
    const Tokenizer::Placed placed = tokenizer.EncodePlaced(text);
    for (const uint32_t id : placed.ids) QR_CHECK_LT(id, tokenizer.facts().text_ids_end);
    for (const uint32_t begin : placed.begins) QR_CHECK_LE(begin, text.size());
  }
}

const testing::AddFuzzTarget tokenizer_json_target({"harness/tokenizer", "tokenizer_json",
                                                    FuzzTokenizerJson});

}  // namespace
}  // namespace quantref
