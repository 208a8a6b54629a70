#include "image/convert/seekable_footer.h"

#include <fmt/format.h>

#include "base/check.h"
#include "image/layer_index.h"
#include "image/tar_header.h"

namespace floe::image {
namespace {

std::string LittleEndian(uint64_t value, size_t bytes) {
  std::string text;
  for (size_t i = 0; i < bytes; ++i) {
    text.push_back(static_cast<char>((value >> (8 * i)) & 0xFFU));
  }
  return text;
}

// An empty gzip member with an extra field (RFC 1952, FEXTRA): one subfield 'S' 'G'.
std::string EmptyMember(std::string_view subfield) {
  constexpr std::string_view kHeader("\x1F\x8B\x08\x04\0\0\0\0\0\xFF", 10);
  constexpr std::string_view kEmptyStoredBlock("\x01\0\0\xFF\xFF", 5);
  constexpr size_t kSubfieldHeader = 4;
  constexpr size_t kTrailer = 8;  // CRC-32 and length: zeros.
  return std::string(kHeader) + LittleEndian(kSubfieldHeader + subfield.size(), 2) + "SG" +
         LittleEndian(subfield.size(), 2) + std::string(subfield) + std::string(kEmptyStoredBlock) +
         std::string(kTrailer, '\0');
}

// ustar fields: offset and length.
struct Field {
  size_t offset, length;
};
constexpr Field kName{0, 100};
constexpr Field kMode{100, 8};
constexpr Field kUid{108, 8};
constexpr Field kGid{116, 8};
constexpr Field kSize{124, 12};
constexpr Field kMtime{136, 12};
constexpr Field kChecksum{148, 8};
constexpr Field kType{156, 1};
constexpr Field kMagic{257, 8};
constexpr Field kDevMajor{329, 8};
constexpr Field kDevMinor{337, 8};

void Put(std::string& block, Field field, std::string_view text) {
  FLOE_CHECK(text.size() <= field.length);
  block.replace(field.offset, text.size(), text);
}

void PutOctal(std::string& block, Field field, uint64_t value) {
  Put(block, field, fmt::format("{:0{}o}", value, field.length - 1));
}

}  // namespace

std::string SkippableFrame(std::string_view content) {
  FLOE_CHECK(content.size() <= kMaxSkippableBytes);
  return "\x50\x2A\x4D\x18" + LittleEndian(content.size(), 4) + std::string(content);
}

std::string ZstdChunkedFooter(const ZstdTocPosition& toc) {
  constexpr uint64_t kTypeCrfs = 1;
  constexpr std::string_view kMagic8 = "GnUlInUx";
  return LittleEndian(toc.offset, 8) + LittleEndian(toc.compressed_bytes, 8) +
         LittleEndian(toc.raw_bytes, 8) + LittleEndian(kTypeCrfs, 8) + std::string(kMagic8);
}

std::string EStargzFooter(uint64_t toc_offset) {
  return EmptyMember(fmt::format("{:016x}STARGZ", toc_offset));
}

std::string ExternalTocFooter() { return EmptyMember("STARGZEXTERNALTOC"); }

std::string UstarHeader(std::string_view name, uint64_t size_bytes) {
  constexpr uint64_t kMode0444 = 0444;
  std::string block(kTarBlockBytes, '\0');
  Put(block, kName, name);
  PutOctal(block, kMode, kMode0444);
  PutOctal(block, kUid, 0);
  PutOctal(block, kGid, 0);
  PutOctal(block, kSize, size_bytes);
  PutOctal(block, kMtime, 0);
  Put(block, kChecksum, "        ");
  Put(block, kType, "0");
  Put(block, kMagic, std::string_view("ustar\00000", kMagic.length));
  PutOctal(block, kDevMajor, 0);
  PutOctal(block, kDevMinor, 0);
  uint64_t sum = 0;
  for (char c : block) {
    sum += static_cast<uint8_t>(c);
  }
  Put(block, kChecksum, fmt::format("{:06o}", sum) + std::string("\0 ", 2));
  return block;
}

std::string LastTarFile(std::string_view name, std::string_view content) {
  constexpr size_t kEndBytes = 2 * kTarBlockBytes;
  std::string archive = UstarHeader(name, content.size());
  archive += content;
  archive.resize(AlignUp(archive.size(), kTarBlockBytes) + kEndBytes, '\0');
  return archive;
}

}  // namespace floe::image
