#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "harness/io/checkpoint.h"
#include "harness/model/config.h"
#include "harness/tokenizer/gguf_vocabulary.h"

namespace quantref {

// The config of a checkpoint whose gguf() is not null: its keys and rotary factors said as
// transformers' config.json says them. Throws Error as ReadConfig does, and for keys of the
// architecture that are not known: they may change the numbers. sha256 is that of the GGUF header.
ModelConfig ReadGgufConfig(const Checkpoint& checkpoint);

// The config.json, as far as ReadConfig reads one.
nlohmann::json GgufConfigJson(const Checkpoint& checkpoint);

// The keys tokenizer.ggml.*.
GgufVocabulary ReadGgufVocabulary(const GgufFile& file);

}  // namespace quantref
