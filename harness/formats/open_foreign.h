#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "harness/formats/foreign_folder.h"
#include "harness/io/checkpoint.h"
#include "harness/model/foreign_checkpoint.h"

namespace quantref {

// The reader for what another tool wrote into the folder: a ForeignOpener. What decides is
// config.json's quantization_config, or, where it has none, quantize_config.json (GPTQ) or
// quant_config.json (AWQ). Where both are there the first holds, what only the second has is taken,
// and where they differ there is a note. `settings` gets the second where it is used. nullptr: the checkpoint is plain. Throws Error for a method, or a
// setting of one, that would change the numbers and is not supported, by its name.
std::shared_ptr<const ForeignCheckpoint> OpenForeign(const std::filesystem::path& dir,
                                                     std::shared_ptr<const Checkpoint> checkpoint,
                                                     std::optional<InputFile>* settings = nullptr);

// The same of a folder whose settings are there.
std::shared_ptr<const ForeignCheckpoint> OpenForeignFolder(ForeignFolder folder);

// Whether the folder says that its weights are another tool's codes; not that they can be read.
// Reads config.json alone. Any other path, a GGUF file's too: no.
bool SaysForeign(const std::filesystem::path& dir);

// The methods that are read: "awq", "gptq".
std::vector<std::string> ForeignMethods();

}  // namespace quantref
