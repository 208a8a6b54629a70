// An EROFS image of another writer with a few values changed, and its checksum put right: what the
// reader takes becomes an index that is valid, and a bootstrap that is.
#include <sys/stat.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "erofs/native_layer.h"
#include "erofs/native_reader.h"
#include "erofs/reader.h"
#include "erofs/writer.h"
#include "tests/erofs/tiny_image.h"
#include "tests/fuzz/input.h"

namespace floe::erofs {
namespace {

constexpr uint64_t kInodesAt = 2048;
constexpr uint64_t kTablesAt = 16384;
constexpr uint64_t kBlocksAt = 32768;

/// A place where TinyImage has something worth changing.
uint64_t TakeOffset(floe::testing::FuzzInput& input) {
  switch (input.Below(5)) {
    case 0:
      return kSuperOffset + input.Below(sizeof(SuperBlock));
    case 1:
      return kTablesAt + input.Below(512);
    case 2:
      return kBlocksAt + input.Below(32768);
    default:
      return kInodesAt + input.Below(2048);
  }
}

void Put(std::string& image, uint64_t offset, std::string_view bytes) {
  if (offset < image.size()) {
    bytes = bytes.substr(0, image.size() - offset);
    image.replace(offset, bytes.size(), bytes);
  }
}

void Edit(std::string& image, floe::testing::FuzzInput& input) {
  const uint64_t offset = TakeOffset(input);
  switch (input.Below(4)) {
    case 0:
      Put(image, offset, input.Bytes(size_t{1} << input.Below(4)));
      break;
    case 1:
      Put(image, offset, std::string(1 + input.Below(8), input.Below(2) == 0 ? '\0' : '\xFF'));
      break;
    case 2: {
      const uint64_t from = std::min<uint64_t>(TakeOffset(input), image.size());
      Put(image, offset, image.substr(from, 4 * (1 + input.Below(32))));
      break;
    }
    default:
      if (offset < image.size()) {
        image[offset] = static_cast<char>(image[offset] + input.Take<int8_t>());
      }
  }
}

void FixChecksum(std::string& image) {
  if (image.size() < kSuperOffset + sizeof(SuperBlock)) {
    return;
  }
  const uint8_t bits = LoadAt<SuperBlock>(image, kSuperOffset).block_bits;
  const uint64_t block = uint64_t{1} << std::min<unsigned>(bits, kMaxNativeBlockBits);
  StoreAt(image.data(), kSuperOffset + offsetof(SuperBlock, checksum), uint32_t{0});
  const uint32_t checksum = Crc32c(std::string_view(image).substr(
      kSuperOffset, block > kSuperOffset ? block - kSuperOffset : block));
  StoreAt(image.data(), kSuperOffset + offsetof(SuperBlock, checksum), checksum);
}

std::string MakeImage(floe::testing::FuzzInput& input) {
  const size_t choice = input.Below(16);
  if (choice == 15) {
    return input.Rest();
  }
  std::string image = testing::SampleTinyImage(static_cast<uint8_t>(9 + choice % 4));
  while (!input.empty()) {
    Edit(image, input);
  }
  FixChecksum(image);
  return image;
}

void CheckBootstrap(const image::LayerIndex& index) {
  uint64_t bytes = 0;
  for (const image::Inode& inode : index.data().inodes) {
    bytes += inode.size_bytes;
  }
  constexpr uint64_t kMostBytes = 1ULL << 32U;  // Or the chunk maps make each run slow.
  if (bytes > kMostBytes) {
    return;
  }
  const MergeLayer layer{.index = &index, .device_tags = {std::string(64, 'a')}};
  const auto bootstrap =
      WriteBootstrap(std::span(&layer, 1), {.whiteouts = WhiteoutForm::kOverlay});
  if (bootstrap.has_value()) {
    const auto reader = BootstrapReader::Open(bootstrap->bytes);
    FLOE_CHECK(reader.has_value() && reader->Validate().has_value());
  }
}

}  // namespace
}  // namespace floe::erofs

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace floe::erofs;  // NOLINT(google-build-using-namespace): an extern "C" function.
  floe::testing::FuzzInput input(data, size);
  const std::string image = MakeImage(input);
  MemoryImage memory(image);
  floe::image::SourceBlob blob;
  blob.digest = floe::Digest::Of(image);
  blob.size_bytes = image.size();
  const auto index = MakeUnverifiedIndex(memory, std::move(blob), 4096);
  if (index.has_value()) {
    CheckBootstrap(*index);
  } else {
    // An index that its own validation refuses would be a reader that takes too much.
    FLOE_CHECK(index.error().message.find('\n') == std::string::npos);
    FLOE_CHECK(!index.error().message.starts_with("index: "));
    FLOE_CHECK(index.error().code != floe::ErrorCode::kInternal);
  }
  return 0;
}
