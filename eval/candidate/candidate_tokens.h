#pragma once

#include <string_view>

#include "eval/text/protocol.h"
#include "harness/model/load_model.h"

namespace quantref {

// Whether the model's tokenizer makes of the text the ids of `expected`, which the reference's made
// under this protocol. Throws Error with the first difference: its place, the ids, and the text
// there.
void CheckSameTokens(const TokenStream& expected, const Protocol& protocol, std::string_view text,
                     const Model& model);

}  // namespace quantref
