#include <algorithm>
#include <string>
#include <vector>

#include "harness/base/check.h"
#include "harness/testing/fuzz.h"
#include "harness/tokenizer/tokenizer.h"

namespace quantref {
namespace {

// The model encodes text, its own last bytes too.
void FuzzTokenizer(std::string_view input) {
  const testing::InputFile file(input);
  const Tokenizer tokenizer = Tokenizer::Load(file.path());
  const size_t vocab = tokenizer.vocab_size();
  QR_CHECK_LT(tokenizer.bos_id().value_or(0), vocab);
  const std::string text = "Hello \xef\xbc\xa1\xff w\xc3\xb6rld 12\n\xe6\x97\xa5";
  for (const std::string_view some :
       {std::string_view(text), input.substr(input.size() - std::min<size_t>(input.size(), 40))}) {
    const std::vector<uint32_t> ids = tokenizer.Encode(some);
    for (const uint32_t id : ids) QR_CHECK_LT(id, vocab);
  }
}

const testing::AddFuzzTarget tokenizer_target({"harness/tokenizer", "tokenizer", FuzzTokenizer});

}  // namespace
}  // namespace quantref
