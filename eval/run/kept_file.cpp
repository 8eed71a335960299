#include "eval/run/kept_file.h"

#include "harness/base/check.h"
#include "harness/base/sha256.h"

namespace quantref {
namespace {

constexpr size_t kHexDigits = 64;

}  // namespace

std::optional<std::string_view> KeptPayload(const MappedFile& file, std::string_view kind,
                                            std::string_view key) {
  std::string_view bytes(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  if (bytes.size() < kind.size() + key.size() + kHexDigits) return std::nullopt;
  const std::string_view sum = bytes.substr(bytes.size() - kHexDigits);
  bytes.remove_suffix(kHexDigits);
  if (Sha256Hex(bytes) != sum || !bytes.starts_with(kind)) return std::nullopt;
  bytes.remove_prefix(kind.size());
  if (!bytes.starts_with(key)) return std::nullopt;
  return bytes.substr(key.size());
}

void WriteKeptFile(const std::filesystem::path& path, std::string_view kind, std::string_view key,
                   const std::function<void(const ByteSink& sink)>& payload) {
  QR_CHECK_EQ(key.size(), kHexDigits);
  const auto write = [&](const ByteSink& sink) {
    Sha256Stream sha;
    const ByteSink summed = [&](std::string_view bytes) {
      sha.Update(bytes.data(), bytes.size());
      sink(bytes);
    };
    summed(kind);
    summed(key);
    payload(summed);
    sink(sha.HexDigest());
  };
  WriteFileAtomically(path, write, true);
}

}  // namespace quantref
