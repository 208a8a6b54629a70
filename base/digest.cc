#include "base/digest.h"

#include <openssl/evp.h>

#include "base/check.h"
#include "base/quote.h"

namespace floe {
namespace {

constexpr std::string_view kPrefix = "sha256:";
constexpr size_t kHexLength = 64;

int HexValue(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  if (c >= 'a' && c <= 'f') {
    return c - 'a' + 10;
  }
  return -1;
}

Error NoDigest(std::string_view text) {
  return InvalidArgument("not a sha256 digest: {}", Quote(text));
}

}  // namespace

std::string HexEncode(std::span<const uint8_t> bytes) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (uint8_t byte : bytes) {
    text.push_back(kDigits[byte >> 4U]);
    text.push_back(kDigits[byte & 0xFU]);
  }
  return text;
}

Result<Digest> Digest::Parse(std::string_view text) {
  if (!text.starts_with(kPrefix) || text.size() != kPrefix.size() + kHexLength) {
    return NoDigest(text);
  }
  std::string_view hex = text.substr(kPrefix.size());
  Sha256 bytes{};
  for (size_t i = 0; i < bytes.size(); ++i) {
    int high = HexValue(hex[2 * i]);
    int low = HexValue(hex[2 * i + 1]);
    if (high < 0 || low < 0) {
      return NoDigest(text);
    }
    bytes[i] = static_cast<uint8_t>(high * 16 + low);
  }
  return Digest(bytes);
}

Digest Digest::Of(std::string_view bytes) {
  return Of(std::as_bytes(std::span(bytes.data(), bytes.size())));
}

Digest Digest::Of(std::span<const std::byte> bytes) {
  Sha256Hasher hasher;
  hasher.Update(bytes);
  return hasher.Finish();
}

std::string Digest::hex() const { return HexEncode(bytes_); }

std::string Digest::ToString() const { return std::string(kPrefix) + hex(); }

struct Sha256Hasher::Context {
  EVP_MD_CTX* evp = nullptr;
  ~Context() { EVP_MD_CTX_free(evp); }
};

Sha256Hasher::Sha256Hasher() : context_(std::make_unique<Context>()) {
  context_->evp = EVP_MD_CTX_new();
  FLOE_CHECK(context_->evp != nullptr);
  FLOE_CHECK(EVP_DigestInit_ex(context_->evp, EVP_sha256(), nullptr) == 1);
}
Sha256Hasher::~Sha256Hasher() = default;
Sha256Hasher::Sha256Hasher(Sha256Hasher&&) noexcept = default;
Sha256Hasher& Sha256Hasher::operator=(Sha256Hasher&&) noexcept = default;

void Sha256Hasher::Update(std::span<const std::byte> bytes) {
  FLOE_CHECK(EVP_DigestUpdate(context_->evp, bytes.data(), bytes.size()) == 1);
}

void Sha256Hasher::Update(std::string_view bytes) {
  Update(std::as_bytes(std::span(bytes.data(), bytes.size())));
}

Digest Sha256Hasher::Finish() {
  Sha256 bytes{};
  FLOE_CHECK(EVP_DigestFinal_ex(context_->evp, bytes.data(), nullptr) == 1);
  FLOE_CHECK(EVP_DigestInit_ex(context_->evp, EVP_sha256(), nullptr) == 1);
  return Digest(bytes);
}

}  // namespace floe
