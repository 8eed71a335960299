#include <vector>

#include "harness/base/check.h"
#include "harness/testing/fuzz.h"
#include "harness/tokenizer/tiktoken.h"

namespace quantref {
namespace {

constexpr size_t kMostRanksBytes = size_t{1} << 26;

void FuzzTiktoken(std::string_view input) {
  LooksLikeTiktoken(input);
  const testing::InputFile file(input);
  const Tokenizer tokenizer = TiktokenTokenizer(ReadInput(file.path(), kMostRanksBytes), {});
  for (const uint32_t id : tokenizer.Encode(input.substr(0, 200)))
    QR_CHECK_LT(id, tokenizer.vocab_size());
}

const testing::AddFuzzTarget tiktoken_target({"harness/tokenizer", "tiktoken", FuzzTiktoken});

}  // namespace
}  // namespace quantref
