#include "erofs/format.h"

#include <sys/stat.h>

#include <cstddef>

#include "base/byte_range.h"

namespace floe::erofs {
namespace {

constexpr uint32_t kPolynomial = 0x82F63B78;  // Castagnoli, bits reversed.

constexpr std::array<uint32_t, 256> MakeCrcTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < table.size(); ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc >> 1U) ^ ((crc & 1U) != 0 ? kPolynomial : 0);
    }
    table[byte] = crc;
  }
  return table;
}

constexpr std::array<uint32_t, 256> kCrcTable = MakeCrcTable();

uint32_t ExtendCrc(uint32_t crc, std::string_view bytes) {
  for (char byte : bytes) {
    crc = (crc >> 8U) ^ kCrcTable[(crc ^ static_cast<uint8_t>(byte)) & 0xFFU];
  }
  return crc;
}

}  // namespace

uint32_t Crc32c(std::string_view bytes) { return ExtendCrc(UINT32_MAX, bytes); }

uint32_t SuperBlockChecksum(std::string_view image) {
  constexpr uint64_t kField = kSuperOffset + offsetof(SuperBlock, checksum);
  constexpr std::string_view kZero("\0\0\0\0", sizeof(SuperBlock::checksum));
  uint32_t crc = Crc32c(image.substr(kSuperOffset, kField - kSuperOffset));
  crc = ExtendCrc(crc, kZero);
  return ExtendCrc(crc, image.substr(kField + kZero.size(), kBlockBytes - kField - kZero.size()));
}

uint8_t FileTypeOfMode(uint32_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return 1;
    case S_IFDIR:
      return 2;
    case S_IFCHR:
      return 3;
    case S_IFBLK:
      return 4;
    case S_IFIFO:
      return 5;
    case S_IFSOCK:
      return 6;
    case S_IFLNK:
      return 7;
    default:
      return 0;
  }
}

}  // namespace floe::erofs
