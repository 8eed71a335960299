#pragma once

#include <filesystem>
#include <functional>

namespace quantref {

// Makes the new folder whole or not at all: `write` fills one under a temporary name beside it,
// which gets the name when it returns and is removed where it throws. One whose process was killed
// is removed by who next writes there on the same machine. Error where something of the name is
// there already, which is left as it is. The folder that it lies in must be there.
void WriteFolderWhole(const std::filesystem::path& folder,
                      const std::function<void(const std::filesystem::path& unfinished)>& write);

}  // namespace quantref
