#include "tests/cachemgr/test_blob.h"

#include <sys/stat.h>

#include <algorithm>
#include <random>
#include <span>

#include "base/check.h"
#include "base/file.h"
#include "erofs/writer.h"
#include "image/blob_map.h"

namespace floe::cachemgr::testing {
namespace {

constexpr uint64_t kHeaderBytes = 512;

struct File {
  uint64_t blob_offset = 0;
  uint64_t device_offset = 0;
  uint64_t length = 0;
};

image::StringRef Add(image::LayerIndexData& data, const std::string& text) {
  const image::StringRef ref{.offset = static_cast<uint32_t>(data.strings.size()),
                             .length = static_cast<uint32_t>(text.size())};
  data.strings += text;
  return ref;
}

void AddTree(image::LayerIndexData& data, const std::vector<File>& files) {
  data.inodes.emplace_back();
  data.inodes[0].mode = S_IFDIR | 0755;
  data.inodes[0].dirent_count = static_cast<uint32_t>(files.size());
  for (size_t i = 0; i < files.size(); ++i) {
    image::Inode inode;
    inode.mode = S_IFREG | 0644;
    inode.size_bytes = files[i].length;
    inode.first_segment = static_cast<uint32_t>(data.segments.size());
    if (files[i].length > 0) {
      inode.segment_count = 1;
      image::Segment segment;
      segment.length = files[i].length;
      segment.device_offset = files[i].device_offset;
      data.segments.push_back(segment);
    }
    image::Dirent dirent;
    dirent.name = Add(data, "f" + std::to_string(i));
    dirent.inode = static_cast<uint32_t>(data.inodes.size());
    data.dirents.push_back(dirent);
    data.inodes.push_back(inode);
  }
  std::ranges::sort(data.dirents, {}, [&](const image::Dirent& d) {
    return data.strings.substr(d.name.offset, d.name.length);
  });
}

void AddUnits(image::LayerIndexData& data, const std::string& blob, uint64_t unit_bytes,
              uint64_t group_bytes) {
  for (uint64_t at = 0; at < blob.size(); at += unit_bytes) {
    image::Unit unit;
    unit.range = {.offset = at, .length = std::min(unit_bytes, blob.size() - at)};
    unit.decoded_length = unit.range.length;
    for (uint64_t in = 0; in < unit.range.length; in += group_bytes) {
      image::Group group;
      group.unit = static_cast<uint32_t>(data.units.size());
      group.in_unit = {.offset = in, .length = std::min(group_bytes, unit.range.length - in)};
      group.digest =
          Digest::Of(std::string_view(blob).substr(at + in, group.in_unit.length)).bytes();
      data.groups.push_back(group);
    }
    data.units.push_back(unit);
  }
}

// Cuts each file where a group ends.
void AddExtents(image::LayerIndexData& data, const std::vector<File>& files, uint64_t unit_bytes,
                uint64_t group_bytes) {
  const uint64_t groups_per_unit = unit_bytes / group_bytes;
  for (const File& file : files) {
    for (uint64_t done = 0; done < file.length;) {
      const uint64_t at = file.blob_offset + done;
      const uint64_t in_group = at % unit_bytes % group_bytes;
      image::Extent extent;
      extent.device_offset = file.device_offset + done;
      extent.length = std::min(file.length - done, group_bytes - in_group);
      extent.group =
          static_cast<uint32_t>(at / unit_bytes * groups_per_unit + at % unit_bytes / group_bytes);
      extent.offset_in_group = in_group;
      data.extents.push_back(extent);
      done += extent.length;
    }
  }
}

}  // namespace

std::string RandomBytes(uint64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::string bytes(count, '\0');
  for (char& byte : bytes) {
    byte = static_cast<char>(random() >> 24U);
  }
  return bytes;
}

TestBlob TestBlob::Make(const Options& options) {
  FLOE_CHECK(options.unit_bytes % options.group_bytes == 0);
  TestBlob made;
  std::vector<File> files;
  for (const uint64_t length : options.file_bytes) {
    made.blob.resize(made.blob.size() + kHeaderBytes, 'h');
    files.push_back(
        {.blob_offset = made.blob.size(), .device_offset = made.device.size(), .length = length});
    const std::string content =
        RandomBytes(length, options.seed + static_cast<uint32_t>(files.size()));
    made.file_offsets.push_back(made.device.size());
    made.blob += content;
    made.device += content;
    made.device.resize(AlignUp(made.device.size(), kBlockBytes), '\0');
  }
  AddTree(made.data, files);
  AddUnits(made.data, made.blob, options.unit_bytes, options.group_bytes);
  AddExtents(made.data, files, options.unit_bytes, options.group_bytes);
  made.digest = Digest::Of(made.blob);
  image::SourceBlob source;
  source.digest = made.digest;
  source.size_bytes = made.blob.size();
  source.device_size_bytes = made.device.size();
  source.unit_count = static_cast<uint32_t>(made.data.units.size());
  source.group_count = static_cast<uint32_t>(made.data.groups.size());
  source.extent_count = static_cast<uint32_t>(made.data.extents.size());
  made.data.blobs.push_back(source);
  const auto index = image::LayerIndex::Create(made.data);
  FLOE_CHECK(index.has_value());
  made.map = image::EncodeBlobMap(*index, 0);
  made.key = image::DeviceKey(made.map);
  return made;
}

std::string TestBlob::Bootstrap() const {
  const auto index = image::LayerIndex::Create(data);
  FLOE_CHECK(index.has_value());
  const erofs::MergeLayer layer{.index = &*index, .device_tags = {key}};
  auto bootstrap = erofs::WriteBootstrap({&layer, 1}, {});
  FLOE_CHECK(bootstrap.has_value());
  return bootstrap->bytes;
}

std::filesystem::path TestBlob::Store(const std::filesystem::path& directory) const {
  FLOE_CHECK(CreateDirectories(directory / key).has_value());
  FLOE_CHECK(WriteFileAtomically(directory / key / "map", map).has_value());
  return directory / key;
}

}  // namespace floe::cachemgr::testing
