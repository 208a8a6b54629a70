// A bootstrap with a few values changed, and its checksum put right: any of it can be asked for,
// and once Validate says yes, all of it can be read and nothing lies where something else does.
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/byte_range.h"
#include "base/check.h"
#include "erofs/reader.h"
#include "tests/erofs/layer_fixture.h"
#include "tests/fuzz/input.h"

namespace floe::erofs {
namespace {

struct Seed {
  std::string image;
  std::vector<uint64_t> nids;
  std::vector<uint64_t> spots;  ///< Offsets of what is worth changing.
};

testing::LayerFixture SeedLayer() {
  const std::string label = "a label that is long enough to be shared";
  testing::LayerFixture layer;
  layer.File("file", testing::TestContent(9000, 1),
             {.xattrs = {{"user.inline", "i"}, {"user.s", label}}});
  layer.Sparse("sparse", 5 * kBlockBytes,
               {{kBlockBytes, testing::TestContent(kBlockBytes, 3)}, {4 * kBlockBytes, "y"}},
               {.xattrs = {{"user.s", label}}});
  layer.UseBlob(1).File("other-device", testing::TestContent(20000, 2));
  layer.HardLink("linked", "file").File("empty", "").Symlink("symlink", "target");
  layer.Symlink("long", std::string(4090, 'l')).Special("device", S_IFCHR, 5, 1);
  layer.Special("fifo", S_IFIFO).Dir("sub").File("sub/inner", "y").Dir("sub/deeper");
  for (int i = 0; i < 30; ++i) {
    layer.HardLink("wide/" + std::to_string(100 + i) + std::string(200, 'n'), "empty");
  }
  return layer;
}

void AddInode(const BootstrapReader& reader, uint64_t nid, Seed& seed) {
  if (std::ranges::find(seed.nids, nid) != seed.nids.end()) {
    return;
  }
  const auto inode = reader.ReadInode(nid);
  FLOE_CHECK(inode.has_value());
  seed.nids.push_back(nid);
  seed.spots.push_back(inode->offset);
  seed.spots.push_back(inode->offset + sizeof(ExtendedInode));
  seed.spots.push_back(inode->offset + sizeof(ExtendedInode) + inode->xattr_bytes);
  if (inode->blocks_offset != 0) {
    seed.spots.push_back(inode->blocks_offset);
  }
  if (S_ISDIR(inode->mode)) {
    std::vector<DirentInfo> dirents;
    FLOE_CHECK(reader.ReadDirectory(*inode, dirents).has_value());
    for (const DirentInfo& dirent : dirents) {
      AddInode(reader, dirent.nid, seed);
    }
  }
}

const Seed& TheSeed() {
  static const Seed kSeed = [] {
    Seed seed;
    const testing::LayerFixture layer = SeedLayer();
    auto bootstrap = testing::Stack({&layer}).Write();
    FLOE_CHECK(bootstrap.has_value());
    seed.image = std::move(bootstrap->bytes);
    const auto reader = BootstrapReader::Open(seed.image);
    FLOE_CHECK(reader.has_value() && reader->Validate().has_value());
    const SuperBlock& super = reader->super();
    seed.spots = {0, kSuperOffset, super.device_table_slot * sizeof(DeviceSlot),
                  super.xattr_block * kBlockBytes};
    AddInode(*reader, super.root_nid, seed);
    return seed;
  }();
  return kSeed;
}

/// A number that means something somewhere.
uint64_t InterestingNumber(floe::testing::FuzzInput& input) {
  const Seed& seed = TheSeed();
  const uint64_t edge = std::array<uint64_t, 6>{
      0, 1, kBlockBytes, kNoBlock, UINT64_MAX, seed.image.size()}[input.Below(6)];
  switch (input.Below(4)) {
    case 0:
      return seed.nids[input.Below(seed.nids.size())];
    case 1:
      return seed.spots[input.Below(seed.spots.size())] / kBlockBytes;
    case 2:
      return edge + static_cast<uint64_t>(input.Take<int8_t>());
    default:
      return edge;
  }
}

void Put(std::string& image, uint64_t offset, std::string_view bytes) {
  if (offset < image.size()) {
    const size_t length = std::min<uint64_t>(bytes.size(), image.size() - offset);
    image.replace(offset, length, bytes.substr(0, length));
  }
}

uint64_t TakeOffset(floe::testing::FuzzInput& input, const std::string& image) {
  const std::vector<uint64_t>& spots = TheSeed().spots;
  const size_t spot = input.Below(spots.size() + 1);
  return spot < spots.size() ? spots[spot] + input.Below(128)
                             : input.Below(std::min<size_t>(image.size(), 65536));
}

void Edit(std::string& image, floe::testing::FuzzInput& input) {
  const size_t action = input.Below(8);
  if (action == 0) {
    image.resize(std::max(image.size() + (input.Below(3) * kBlockBytes), 2 * kBlockBytes) -
                 kBlockBytes);
    const auto blocks = static_cast<uint32_t>(image.size() / kBlockBytes);
    StoreAt(image.data(), kSuperOffset + offsetof(SuperBlock, blocks), blocks);
    return;
  }
  const uint64_t offset = TakeOffset(input, image);
  const size_t length = size_t{1} << input.Below(4);
  if (action < 3) {
    Put(image, offset, input.Bytes(length));
  } else if (action < 5) {
    const uint64_t number = InterestingNumber(input);
    Put(image, offset, {reinterpret_cast<const char*>(&number), length});
  } else if (action < 6 && offset < image.size()) {
    image[offset] = static_cast<char>(image[offset] + input.Take<int8_t>());
  } else {
    const uint64_t from = TakeOffset(input, image);
    if (from < image.size()) {
      Put(image, offset, image.substr(from, 8 * (1 + input.Below(32))));
    }
  }
}

std::string MakeImage(floe::testing::FuzzInput& input) {
  std::string image;
  if (input.Below(16) == 15) {
    image = input.Rest();
    image.resize(AlignUp(std::max<size_t>(image.size(), 1), kBlockBytes));
  } else {
    image = TheSeed().image;
    while (!input.empty()) {
      Edit(image, input);
    }
  }
  StoreAt(image.data(), kSuperOffset + offsetof(SuperBlock, checksum), SuperBlockChecksum(image));
  return image;
}

/// Everything, whatever comes of it.
void ReadAnything(const BootstrapReader& reader) {
  std::vector<DirentInfo> dirents;
  for (const uint64_t nid : TheSeed().nids) {
    if (const auto inode = reader.ReadInode(nid); inode.has_value()) {
      (void)reader.ReadDirectory(*inode, dirents);
      (void)reader.ReadSymlink(*inode);
      (void)reader.ReadXattrs(*inode);
      (void)reader.ReadPieces(*inode);
    }
  }
  (void)reader.Lookup("sub/inner");
}

/// Reads a whole tree that is valid.
class Walk {
 public:
  explicit Walk(const BootstrapReader& reader) : reader_(reader) {
    Claim(0, kSuperOffset + sizeof(SuperBlock));
    Claim(reader.super().device_table_slot * sizeof(DeviceSlot),
          reader.devices().size() * sizeof(DeviceSlot));
    Enter("", reader.root_nid());
    FLOE_CHECK(seen_.size() == reader.super().inode_count);
    std::ranges::sort(claimed_);
    const auto overlap = std::ranges::adjacent_find(
        claimed_, [](const ByteRange& a, const ByteRange& b) { return a.Overlaps(b); });
    FLOE_CHECK(overlap == claimed_.end());
  }

 private:
  void Claim(uint64_t offset, uint64_t length) {
    if (length > 0) {
      claimed_.push_back({.offset = offset, .length = length});
    }
  }

  void Enter(const std::string& path, uint64_t nid) {
    const auto inode = reader_.ReadInode(nid);
    FLOE_CHECK(inode.has_value());
    if (!seen_.insert(nid).second) {
      FLOE_CHECK(!S_ISDIR(inode->mode));
      return;
    }
    FLOE_CHECK(reader_.Lookup(path)->nid == nid);
    FLOE_CHECK(reader_.ReadXattrs(*inode).has_value());
    Claim(inode->offset, BootstrapReader::InodeBytes(*inode));
    if (S_ISDIR(inode->mode) || S_ISLNK(inode->mode)) {
      const bool has_tail = inode->layout == DataLayout::kFlatInline;
      const uint64_t blocks = inode->size_bytes / kBlockBytes +
                              (has_tail || inode->size_bytes % kBlockBytes == 0 ? 0 : 1);
      FLOE_CHECK(blocks <= reader_.super().blocks);
      Claim(inode->blocks_offset, blocks * kBlockBytes);
    }
    if (S_ISDIR(inode->mode)) {
      EnterAll(path, *inode);
    } else if (S_ISREG(inode->mode)) {
      CheckPieces(*inode);
    } else if (S_ISLNK(inode->mode)) {
      const auto target = reader_.ReadSymlink(*inode);
      FLOE_CHECK(target.has_value() && target->size() == inode->size_bytes);
    }
  }

  void EnterAll(const std::string& path, const InodeInfo& directory) {
    std::vector<DirentInfo> dirents;
    FLOE_CHECK(reader_.ReadDirectory(directory, dirents).has_value());
    for (const DirentInfo& dirent : dirents) {
      FLOE_CHECK(dirent.name.find('/') == std::string_view::npos && !dirent.name.empty());
      if (dirent.name != "." && dirent.name != "..") {
        Enter((path.empty() ? "" : path + "/") + std::string(dirent.name), dirent.nid);
      }
    }
  }

  void CheckPieces(const InodeInfo& file) const {
    const auto pieces = reader_.ReadPieces(file);
    FLOE_CHECK(pieces.has_value());
    uint64_t end = 0;
    for (const FilePiece& piece : *pieces) {
      FLOE_CHECK(piece.file_offset == end && piece.length > 0);
      end += piece.length;
      if (piece.device != 0) {
        const uint64_t size_bytes = reader_.devices().at(piece.device - 1U).size_bytes;
        FLOE_CHECK(piece.device_offset <= size_bytes &&
                   piece.length <= size_bytes - piece.device_offset);
      }
    }
    FLOE_CHECK(end == file.size_bytes);
  }

  const BootstrapReader& reader_;
  std::set<uint64_t> seen_;
  std::vector<ByteRange> claimed_;
};

}  // namespace
}  // namespace floe::erofs

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace floe::erofs;  // NOLINT(google-build-using-namespace): an extern "C" function.
  floe::testing::FuzzInput input(data, size);
  const std::string image = MakeImage(input);
  const auto reader = BootstrapReader::Open(image);
  if (!reader) {
    FLOE_CHECK(reader.error().message.find('\n') == std::string::npos);
    return 0;
  }
  ReadAnything(*reader);
  if (const auto valid = reader->Validate(); valid.has_value()) {
    (void)Walk(*reader);
  } else {
    FLOE_CHECK(valid.error().message.find('\n') == std::string::npos);
  }
  return 0;
}
