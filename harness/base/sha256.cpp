#include "harness/base/sha256.h"

#include <openssl/evp.h>

#include <algorithm>

#include "harness/base/cancel.h"
#include "harness/base/check.h"
#include "harness/base/error.h"

namespace quantref {

struct Sha256Stream::Context {
  EVP_MD_CTX* evp = EVP_MD_CTX_new();
};

Sha256Stream::Sha256Stream() : context_(std::make_unique<Context>()) {
  if (context_->evp != nullptr && EVP_DigestInit_ex(context_->evp, EVP_sha256(), nullptr) == 1)
    return;
  EVP_MD_CTX_free(context_->evp);
  throw Error("OpenSSL does not give SHA-256", "OpenSSL",
              "its configuration (OPENSSL_CONF) may ask for a provider that is not installed");
}

Sha256Stream::~Sha256Stream() { EVP_MD_CTX_free(context_->evp); }

void Sha256Stream::Update(const void* data, size_t bytes) {
  constexpr size_t kStep = size_t{16} << 20;  // some hundredths of a second
  const auto* from = static_cast<const std::byte*>(data);
  for (size_t at = 0; at < bytes; at += kStep) {
    ThrowIfCancelled();
    QR_CHECK(EVP_DigestUpdate(context_->evp, from + at, std::min(kStep, bytes - at)) == 1);
  }
}

std::string Sha256Stream::HexDigest() {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  QR_CHECK(EVP_DigestFinal_ex(context_->evp, digest, &size) == 1);
  static constexpr char kHex[] = "0123456789abcdef";
  std::string hex;
  for (unsigned int i = 0; i < size; ++i) {
    hex += kHex[digest[i] >> 4];
    hex += kHex[digest[i] & 15];
  }
  return hex;
}

std::string Sha256Hex(const void* data, size_t bytes) {
  Sha256Stream sha;
  sha.Update(data, bytes);
  return sha.HexDigest();
}

std::string Sha256Hex(std::string_view text) { return Sha256Hex(text.data(), text.size()); }

}  // namespace quantref
