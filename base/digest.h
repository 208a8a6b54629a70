#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace floe {

/// The 32 raw bytes of a SHA-256.
using Sha256 = std::array<uint8_t, 32>;

/// An OCI digest (image-spec descriptor.md): "sha256:<64 lower-case hex digits>". Only sha256 is
/// accepted; registries use nothing else. A value type; always valid once made by Parse or Of.
class Digest {
 public:
  Digest() = default;
  explicit Digest(const Sha256& bytes) : bytes_(bytes) {}

  /// InvalidArgument when it is not a sha256 digest in canonical form.
  static Result<Digest> Parse(std::string_view text);
  /// The digest of these bytes.
  static Digest Of(std::string_view bytes);
  static Digest Of(std::span<const std::byte> bytes);

  [[nodiscard]] const Sha256& bytes() const { return bytes_; }
  /// 64 hex digits.
  [[nodiscard]] std::string hex() const;
  /// "sha256:" and 64 hex digits.
  [[nodiscard]] std::string ToString() const;
  /// True for a default-constructed value, which stands for "none".
  [[nodiscard]] bool IsZero() const { return bytes_ == Sha256{}; }

  auto operator<=>(const Digest&) const = default;

 private:
  Sha256 bytes_{};
};

/// Incremental SHA-256 (OpenSSL EVP). One thread at a time.
class Sha256Hasher {
 public:
  Sha256Hasher();
  ~Sha256Hasher();
  Sha256Hasher(Sha256Hasher&&) noexcept;
  Sha256Hasher& operator=(Sha256Hasher&&) noexcept;
  Sha256Hasher(const Sha256Hasher&) = delete;
  Sha256Hasher& operator=(const Sha256Hasher&) = delete;

  void Update(std::span<const std::byte> bytes);
  void Update(std::string_view bytes);
  /// The digest of everything so far; the hasher starts anew.
  Digest Finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

/// Lower-case hex of any bytes.
std::string HexEncode(std::span<const uint8_t> bytes);

}  // namespace floe

template <>
struct std::hash<floe::Digest> {
  size_t operator()(const floe::Digest& digest) const noexcept {
    size_t value = 0;
    for (size_t i = 0; i < sizeof(value); ++i) {
      value = (value << 8U) | digest.bytes()[i];
    }
    return value;
  }
};
