// Indexes of layers, as a registry may hold them: whatever LayerIndex::Create accepts can be merged
// with others, and gives a bootstrap that is valid, or InvalidArgument.
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "erofs/reader.h"
#include "erofs/writer.h"
#include "image/layer_index.h"
#include "tests/erofs/layer_fixture.h"
#include "tests/fuzz/input.h"

namespace floe::erofs {
namespace {

struct Layer {
  image::LayerIndexData data;
  std::vector<std::string> tags;
};

const std::vector<Layer>& Seeds() {
  static const std::vector<Layer> kSeeds = [] {
    testing::LayerFixture lower;
    lower.File("bin/tool", testing::TestContent(9000, 1), {.xattrs = {{"user.a", "b"}}});
    lower.File("dir/sub/file", "x").File("dir/other", "y").Symlink("link", "bin/tool");
    lower.Special("dir/null", S_IFCHR, 1, 3).HardLink("hard", "bin/tool").Dir("both");
    lower.Sparse("sparse", 3 * kBlockBytes, {{kBlockBytes, "x"}});
    testing::LayerFixture upper;
    upper.Whiteout("dir/other")
        .Opaque("both")
        .File("both/new", "z")
        .Symlink("bin/tool", "elsewhere");
    upper.UseBlob(1).File("dir/sub/more", testing::TestContent(5000, 2),
                          {.xattrs = {{"security.capability", "cap"}, {"trusted.x", "y"}}});
    return std::vector<Layer>{{lower.Data(), lower.Tags()}, {upper.Data(), upper.Tags()}};
  }();
  return kSeeds;
}

uint64_t Number(floe::testing::FuzzInput& input) {
  switch (input.Below(4)) {
    case 0:
      return input.Below(16);
    case 1:
      return kBlockBytes * input.Below(16);
    case 2:
      return input.Take<uint32_t>();
    default:
      return std::array<uint64_t, 4>{UINT32_MAX, UINT64_MAX, image::kMaxFileBytes,
                                     uint64_t{1} << 32U}[input.Below(4)];
  }
}

void EditInode(image::Inode& inode, floe::testing::FuzzInput& input) {
  const size_t field = input.Below(14);
  const uint64_t wide = Number(input);
  const auto number = static_cast<uint32_t>(wide);
  switch (field) {
    case 0:
      inode.mode = (inode.mode & S_IFMT) | (number & ~static_cast<uint32_t>(S_IFMT));
      break;
    case 1:
      inode.mode = number;
      break;
    case 2:
      inode.uid = number;
      break;
    case 3:
      inode.rdev_major = number;
      break;
    case 4:
      inode.rdev_minor = number;
      break;
    case 5:
      inode.flags = static_cast<uint8_t>(number);
      break;
    case 6:
      inode.mtime_seconds = static_cast<int64_t>(wide);
      break;
    case 7:
      inode.mtime_nanoseconds = number;
      break;
    case 8:
      inode.size_bytes = wide;
      break;
    case 9:
      inode.target = {number, static_cast<uint32_t>(input.Below(5000))};
      break;
    case 10:
      inode.first_segment = number;
      break;
    case 11:
      inode.segment_count = number;
      break;
    case 12:
      inode.first_xattr = number;
      break;
    default:
      inode.xattr_count = number;
  }
}

template <typename T>
T* One(std::vector<T>& of, floe::testing::FuzzInput& input) {
  const size_t index = input.Below(of.size());
  return of.empty() ? nullptr : &of[index];
}

void Edit(image::LayerIndexData& data, floe::testing::FuzzInput& input) {
  switch (input.Below(8)) {
    case 0: {
      image::Dirent* dirent = One(data.dirents, input);
      dirent->inode = input.Below(8) == 0 ? image::kWhiteoutInode
                                          : static_cast<uint32_t>(input.Below(data.inodes.size()));
      break;
    }
    case 1: {  // Another name, at the end of the strings.
      const std::string name = input.Bytes(1 + input.Below(16));
      image::Dirent* dirent = One(data.dirents, input);
      dirent->name = {static_cast<uint32_t>(data.strings.size()),
                      static_cast<uint32_t>(name.size())};
      data.strings += name;
      break;
    }
    case 2:
      if (image::Segment* segment = One(data.segments, input); segment != nullptr) {
        const std::array<uint64_t*, 3> fields = {&segment->file_offset, &segment->length,
                                                 &segment->device_offset};
        *fields[input.Below(fields.size())] = Number(input);
        segment->blob ^= static_cast<uint32_t>(input.Below(2));
      }
      break;
    case 3:
      if (image::Xattr* xattr = One(data.xattrs, input); xattr != nullptr) {
        const std::string name = std::array<std::string, 6>{"user.",
                                                            "trusted.overlay.",
                                                            "system.posix_acl_access",
                                                            "security.",
                                                            "com.",
                                                            ""}[input.Below(6)] +
                                 input.Bytes(input.Below(8));
        xattr->name = {static_cast<uint32_t>(data.strings.size()),
                       static_cast<uint32_t>(name.size())};
        data.strings += name;
      }
      break;
    case 4: {  // A long value or target to point to.
      const uint32_t begin = static_cast<uint32_t>(data.strings.size());
      data.strings.append(input.Below(65536), 'v');
      if (image::Xattr* xattr = One(data.xattrs, input); xattr != nullptr) {
        xattr->value = {begin, static_cast<uint32_t>(data.strings.size()) - begin};
      }
      break;
    }
    case 5:
      data.blobs[input.Below(data.blobs.size())].device_size_bytes = Number(input);
      break;
    default:
      EditInode(*One(data.inodes, input), input);
  }
}

void CheckBootstrap(const testing::Stack& stack, WhiteoutForm form) {
  const auto bootstrap = stack.Write(form);
  if (!bootstrap) {
    FLOE_CHECK(bootstrap.error().code == ErrorCode::kInvalidArgument);
    FLOE_CHECK(bootstrap.error().message.find('\n') == std::string::npos);
    return;
  }
  const auto reader = BootstrapReader::Open(bootstrap->bytes);
  FLOE_CHECK(reader.has_value() && reader->Validate().has_value());
  FLOE_CHECK(reader->devices().size() == bootstrap->devices.size());
  FLOE_CHECK(reader->super().inode_count == bootstrap->inode_count);
}

}  // namespace
}  // namespace floe::erofs

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace floe::erofs;  // NOLINT(google-build-using-namespace): an extern "C" function.
  floe::testing::FuzzInput input(data, size);
  const size_t edited = input.Below(3);
  const bool alone = input.Below(4) == 0;
  testing::Stack stack;
  for (size_t i = alone ? 1 : 0; i < Seeds().size(); ++i) {
    Layer layer = Seeds()[i];
    while ((edited == i || (edited == 2 && i == 1)) && !input.empty()) {
      Edit(layer.data, input);
    }
    auto index = floe::image::LayerIndex::Create(std::move(layer.data));
    if (!index) {
      FLOE_CHECK(index.error().code == floe::ErrorCode::kDataLoss);
      return 0;
    }
    stack.Push(std::move(*index), layer.tags);
  }
  CheckBootstrap(stack, WhiteoutForm::kApply);
  CheckBootstrap(stack, WhiteoutForm::kOverlay);
  return 0;
}
