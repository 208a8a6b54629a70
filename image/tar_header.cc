#include "image/tar_header.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <string_view>

namespace floe::image {
namespace {

/// A field of the header block.
struct Field {
  size_t offset;
  size_t length;
};

// v7 and its successors.
constexpr Field kName{0, 100};
constexpr Field kMode{100, 8};
constexpr Field kUid{108, 8};
constexpr Field kGid{116, 8};
constexpr Field kSize{124, 12};
constexpr Field kMtime{136, 12};
constexpr Field kChecksum{148, 8};
constexpr size_t kTypeOffset = 156;
constexpr Field kLinkName{157, 100};
// From ustar on.
constexpr Field kMagic{257, 8};  // With the version.
constexpr Field kDevMajor{329, 8};
constexpr Field kDevMinor{337, 8};
constexpr Field kUstarPrefix{345, 155};
// star.
constexpr Field kStarPrefix{345, 131};
constexpr Field kStarAtime{476, 12};
constexpr Field kStarCtime{488, 12};
constexpr Field kStarTrailer{508, 4};
// GNU.
constexpr Field kGnuAtime{345, 12};
constexpr Field kGnuCtime{357, 12};

constexpr std::string_view kMagicUstar("ustar\0", 6);
constexpr std::string_view kMagicGnu("ustar  \0", 8);
constexpr std::string_view kTrailerStar("tar\0", 4);

enum class Variant { kV7, kUstar, kStar, kGnu };

std::string_view Get(TarBlock block, Field field) {
  // Header fields are bytes that are read as text.
  return {reinterpret_cast<const char*>(block.data()) + field.offset, field.length};
}

std::string_view UntilNul(std::string_view text) { return text.substr(0, text.find('\0')); }

std::optional<int64_t> ParseBase256(std::string_view field) {
  const auto first = static_cast<uint8_t>(field.front());
  const uint8_t invert = (first & 0x40U) != 0 ? 0xFF : 0;
  uint64_t value = 0;
  for (size_t i = 0; i < field.size(); ++i) {
    auto byte = static_cast<uint8_t>(static_cast<uint8_t>(field[i]) ^ invert);
    if (i == 0) {
      byte &= 0x7FU;
    }
    if (value >> 56U != 0) {
      return std::nullopt;
    }
    value = (value << 8U) | byte;
  }
  if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return std::nullopt;
  }
  const auto magnitude = static_cast<int64_t>(value);
  return invert != 0 ? -magnitude - 1 : magnitude;
}

std::optional<int64_t> ParseOctal(std::string_view field) {
  constexpr std::string_view kBlank(" \0", 2);
  const size_t first = field.find_first_not_of(kBlank);
  if (first == std::string_view::npos) {
    return 0;
  }
  field = UntilNul(field.substr(first, field.find_last_not_of(kBlank) - first + 1));
  int64_t value = 0;  // At most 12 digits: no overflow.
  for (char c : field) {
    if (c < '0' || c > '7') {
      return std::nullopt;
    }
    value = value * 8 + (c - '0');
  }
  return value;
}

std::optional<int64_t> ParseNumber(std::string_view field) {
  return (static_cast<uint8_t>(field.front()) & 0x80U) != 0 ? ParseBase256(field)
                                                            : ParseOctal(field);
}

bool ChecksumMatches(TarBlock block) {
  int64_t sum_unsigned = 0;
  int64_t sum_signed = 0;
  for (size_t i = 0; i < block.size(); ++i) {
    const bool in_checksum = i >= kChecksum.offset && i < kChecksum.offset + kChecksum.length;
    const auto byte = in_checksum ? uint8_t{' '} : static_cast<uint8_t>(block[i]);
    sum_unsigned += byte;
    sum_signed += static_cast<int8_t>(byte);
  }
  const std::optional<int64_t> sum = ParseOctal(Get(block, kChecksum));
  return sum.has_value() && (*sum == sum_unsigned || *sum == sum_signed);
}

Variant GuessVariant(TarBlock block) {
  const std::string_view magic = Get(block, kMagic);
  if (magic.starts_with(kMagicUstar)) {
    return Get(block, kStarTrailer) == kTrailerStar ? Variant::kStar : Variant::kUstar;
  }
  return magic == kMagicGnu ? Variant::kGnu : Variant::kV7;
}

bool IsAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<uint8_t>(c) < 0x80; });
}

bool IsUnsetOrNumber(std::string_view field) {
  return field.front() == '\0' || ParseNumber(field).has_value();
}

/// The prefix goes before the name. GNU headers have times there; but Go before 1.8 wrote some with
/// a prefix all the same, which shows in "times" that are not numbers.
std::string_view Prefix(TarBlock block, Variant variant) {
  switch (variant) {
    case Variant::kV7:
      return {};
    case Variant::kUstar:
      return UntilNul(Get(block, kUstarPrefix));
    case Variant::kStar:
      return UntilNul(Get(block, kStarPrefix));
    case Variant::kGnu:
      break;
  }
  if (IsUnsetOrNumber(Get(block, kGnuAtime)) && IsUnsetOrNumber(Get(block, kGnuCtime))) {
    return {};
  }
  const std::string_view prefix = UntilNul(Get(block, kUstarPrefix));
  return IsAscii(prefix) ? prefix : std::string_view();
}

Result<void> ReadNumber(TarBlock block, Field field, std::string_view what, int64_t& into) {
  const std::optional<int64_t> value = ParseNumber(Get(block, field));
  if (!value.has_value()) {
    return InvalidArgument("the {} in the header is not a number", what);
  }
  into = *value;
  return Ok();
}

}  // namespace

bool IsZeroBlock(TarBlock block) {
  return std::all_of(block.begin(), block.end(), [](std::byte b) { return b == std::byte{0}; });
}

Result<TarHeader> ParseTarHeader(TarBlock block) {
  if (!ChecksumMatches(block)) {
    return InvalidArgument("not a tar header (the checksum does not match)");
  }
  TarHeader header;
  header.type = static_cast<char>(block[kTypeOffset]);
  header.link_name = UntilNul(Get(block, kLinkName));
  FLOE_RETURN_IF_ERROR(ReadNumber(block, kSize, "size", header.size));
  FLOE_RETURN_IF_ERROR(ReadNumber(block, kMode, "mode", header.mode));
  FLOE_RETURN_IF_ERROR(ReadNumber(block, kUid, "uid", header.uid));
  FLOE_RETURN_IF_ERROR(ReadNumber(block, kGid, "gid", header.gid));
  FLOE_RETURN_IF_ERROR(ReadNumber(block, kMtime, "mtime", header.mtime_seconds));
  const Variant variant = GuessVariant(block);
  if (variant != Variant::kV7) {
    FLOE_RETURN_IF_ERROR(ReadNumber(block, kDevMajor, "device major", header.dev_major));
    FLOE_RETURN_IF_ERROR(ReadNumber(block, kDevMinor, "device minor", header.dev_minor));
  }
  if (variant == Variant::kStar) {
    int64_t unused = 0;
    FLOE_RETURN_IF_ERROR(ReadNumber(block, kStarAtime, "atime", unused));
    FLOE_RETURN_IF_ERROR(ReadNumber(block, kStarCtime, "ctime", unused));
  }
  if (const std::string_view prefix = Prefix(block, variant); !prefix.empty()) {
    header.name.append(prefix).push_back('/');
  }
  header.name += UntilNul(Get(block, kName));
  return header;
}

}  // namespace floe::image
