#include "tests/image/sample_index.h"

#include <sys/stat.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

namespace floe::image {
namespace {

constexpr uint64_t kTarBlockBytes = 512;

StringRef AddString(LayerIndexData& data, std::string_view text) {
  const StringRef ref{static_cast<uint32_t>(data.strings.size()),
                      static_cast<uint32_t>(text.size())};
  data.strings += text;
  return ref;
}

Inode MakeInode(uint32_t mode) {
  Inode inode;
  inode.mode = mode;
  inode.mtime_seconds = 1700000000;
  return inode;
}

Sha256 RandomSha256(std::mt19937_64& random) {
  Sha256 bytes{};
  std::generate(bytes.begin(), bytes.end(), [&] { return static_cast<uint8_t>(random()); });
  return bytes;
}

void AddSampleBlobs(LayerIndexData& data) {
  SourceBlob gzip;
  gzip.digest = Digest::Of("gzip");
  gzip.size_bytes = 1000;
  gzip.media_type = "application/vnd.oci.image.layer.v1.tar+gzip";
  gzip.device_size_bytes = 12288;
  gzip.windows_digest = Digest::Of("windows");
  gzip.windows_size_bytes = 300;
  gzip.unit_count = gzip.group_count = 2;
  gzip.extent_count = 3;
  SourceBlob zstd;
  zstd.digest = Digest::Of("zstd");
  zstd.size_bytes = 500;
  zstd.media_type = "application/vnd.oci.image.layer.v1.tar+zstd";
  zstd.device_size_bytes = 8192;
  zstd.first_unit = zstd.first_group = 2;
  zstd.first_extent = 3;
  zstd.unit_count = 1;
  zstd.group_count = zstd.extent_count = 2;
  data.blobs = {gzip, zstd};
  data.units = {
      {.blob = 0, .range = {0, 400}, .decoded_length = 9000, .codec = Codec::kGzip, .window = {}},
      {.blob = 0,
       .range = {399, 600},
       .decoded_length = 5000,
       .codec = Codec::kDeflate,
       .bits = 3,
       .window = {0, 300}},
      {.blob = 1, .range = {20, 400}, .decoded_length = 8000, .codec = Codec::kZstd, .window = {}}};
  data.groups = {{.unit = 0, .in_unit = {0, 9000}, .digest = Digest::Of("group 0").bytes()},
                 {.unit = 1, .in_unit = {0, 5000}, .digest = Digest::Of("group 1").bytes()},
                 {.unit = 2, .in_unit = {100, 4900}, .digest = Digest::Of("group 2").bytes()},
                 {.unit = 2, .in_unit = {5000, 3000}, .digest = Digest::Of("group 3").bytes()}};
  data.extents = {{.device_offset = 0, .length = 5000, .group = 0, .offset_in_group = 512},
                  {.device_offset = 8192, .length = 1000, .group = 0, .offset_in_group = 8000},
                  {.device_offset = 9192, .length = 2000, .group = 1, .offset_in_group = 0},
                  {.device_offset = 0, .length = 4096, .group = 2, .offset_in_group = 0},
                  {.device_offset = 4096, .length = 100, .group = 3, .offset_in_group = 2900}};
}

void AddSampleTree(LayerIndexData& data) {
  // 0 /: 1 dir (opaque), 2 file, 3 link, 6 implied; whiteout "gone". 1: 2 again, 4 null, 5 pipe.
  Inode root = MakeInode(S_IFDIR | 0755);
  root.dirent_count = 5;
  Inode dir = MakeInode(S_IFDIR | 01777);
  dir.flags = kInodeOpaque;
  dir.first_dirent = 5;
  dir.dirent_count = 3;
  Inode file = MakeInode(S_IFREG | 04755);
  file.uid = 1000;
  file.gid = 4294967295;
  file.mtime_seconds = -5;
  file.mtime_nanoseconds = 999999999;
  file.size_bytes = 20000;
  file.segment_count = 3;
  file.xattr_count = 2;
  Inode link = MakeInode(S_IFLNK | 0777);
  link.size_bytes = 6;
  Inode null = MakeInode(S_IFCHR | 0666);
  null.rdev_major = 1;
  null.rdev_minor = 3;
  Inode implied = MakeInode(S_IFDIR | 0755);
  implied.flags = kInodeImplied;
  data.dirents = {{AddString(data, "dir"), 1},
                  {AddString(data, "file"), 2},
                  {AddString(data, "gone"), kWhiteoutInode},
                  {AddString(data, "implied"), 6},
                  {AddString(data, "link"), 3},
                  {AddString(data, "file"), 2},
                  {AddString(data, "null"), 4},
                  {AddString(data, "pipe"), 5}};
  link.target = AddString(data, "../dir");
  data.xattrs = {
      {AddString(data, "security.capability"), AddString(data, std::string_view("\0\1\0", 3))},
      {AddString(data, "user.empty"), AddString(data, "")}};
  data.segments = {{.file_offset = 0, .length = 4096, .blob = 0, .device_offset = 0},
                   {.file_offset = 8192, .length = 8192, .blob = 1, .device_offset = 0},
                   {.file_offset = 16384, .length = 3000, .blob = 0, .device_offset = 8192}};
  data.inodes = {root, dir, file, link, null, MakeInode(S_IFIFO | 0600), implied};
}

// Makes up a tar layer as an indexer sees it: headers and contents, one after the other.
class RandomLayer {
 public:
  RandomLayer(std::mt19937_64& random, uint64_t span_bytes)
      : random_(random), span_bytes_(span_bytes) {}

  LayerIndexData Run(size_t files);

 private:
  void AddNode(size_t number);
  void AddContent(Inode& inode);
  void AddUnits();
  void AddExtents();
  void AddDirents();

  struct Content {
    uint64_t device_offset, position, length;
  };
  std::mt19937_64& random_;
  const uint64_t span_bytes_;
  LayerIndexData data_;
  SourceBlob blob_;
  std::vector<Content> contents_;
  std::vector<std::vector<std::pair<std::string, uint32_t>>> children_;
  std::vector<uint32_t> directories_ = {0};
  uint64_t position_ = 0;  // In the archive.
};

void RandomLayer::AddContent(Inode& inode) {
  inode.size_bytes = random_() % (1U << (random_() % 20));
  if (inode.size_bytes == 0) {
    return;
  }
  inode.first_segment = static_cast<uint32_t>(data_.segments.size());
  inode.segment_count = 1;
  data_.segments.push_back({.file_offset = 0,
                            .length = inode.size_bytes,
                            .blob = 0,
                            .device_offset = blob_.device_size_bytes});
  contents_.push_back({blob_.device_size_bytes, position_, inode.size_bytes});
  blob_.device_size_bytes += AlignUp(inode.size_bytes, kBlockBytes);
  position_ += AlignUp(inode.size_bytes, kTarBlockBytes);
}

void RandomLayer::AddNode(size_t number) {
  const uint32_t parent =
      directories_[directories_.size() - 1 - random_() % std::min<size_t>(directories_.size(), 3)];
  const auto inode_number = static_cast<uint32_t>(data_.inodes.size());
  children_[parent].emplace_back("name" + std::to_string(number), inode_number);
  children_.emplace_back();
  position_ += random_() % 20 == 0 ? 3 * kTarBlockBytes : kTarBlockBytes;
  Inode inode = MakeInode(S_IFREG | 0644);
  inode.mtime_seconds -= static_cast<int64_t>(random_() % 1000);
  const uint64_t kind = random_() % 16;
  if (kind == 0) {
    inode.mode = S_IFDIR | 0755;
    directories_.push_back(inode_number);
  } else if (kind == 1) {
    inode.mode = S_IFLNK | 0777;
    inode.target = AddString(data_, "target" + std::to_string(random_() % 100));
    inode.size_bytes = inode.target.length;
  } else {
    AddContent(inode);
  }
  data_.inodes.push_back(inode);
}

void RandomLayer::AddUnits() {
  for (uint64_t start = 0; start < position_; start += span_bytes_) {
    Unit unit;
    unit.decoded_length = std::min(span_bytes_, position_ - start);
    unit.codec = start == 0 ? Codec::kGzip : Codec::kDeflate;
    unit.bits = start == 0 ? uint8_t{0} : static_cast<uint8_t>(random_() % 8);
    unit.range.offset = blob_.size_bytes - (unit.bits != 0 ? 1 : 0);
    unit.range.length = 100 + random_() % unit.decoded_length;
    blob_.size_bytes = unit.range.end();
    if (start != 0 && random_() % 8 != 0) {
      unit.window = {blob_.windows_size_bytes, 1 + random_() % 9000};
      blob_.windows_size_bytes = unit.window.end();
    }
    data_.groups.push_back({.unit = static_cast<uint32_t>(data_.units.size()),
                            .in_unit = {0, unit.decoded_length},
                            .digest = RandomSha256(random_)});
    data_.units.push_back(unit);
  }
}

void RandomLayer::AddExtents() {
  for (Content rest : contents_) {
    while (rest.length > 0) {
      const uint64_t offset = rest.position % span_bytes_;
      const uint64_t length = std::min(rest.length, span_bytes_ - offset);
      data_.extents.push_back({.device_offset = rest.device_offset,
                               .length = length,
                               .group = static_cast<uint32_t>(rest.position / span_bytes_),
                               .offset_in_group = offset});
      rest = {rest.device_offset + length, rest.position + length, rest.length - length};
    }
  }
}

void RandomLayer::AddDirents() {
  for (size_t i = 0; i < children_.size(); ++i) {
    std::sort(children_[i].begin(), children_[i].end());
    data_.inodes[i].first_dirent = static_cast<uint32_t>(data_.dirents.size());
    data_.inodes[i].dirent_count = static_cast<uint32_t>(children_[i].size());
    for (const auto& [name, inode] : children_[i]) {
      data_.dirents.push_back({AddString(data_, name), inode});
    }
  }
}

LayerIndexData RandomLayer::Run(size_t files) {
  data_.inodes.push_back(MakeInode(S_IFDIR | 0755));
  children_.emplace_back();
  for (size_t i = 0; i < files; ++i) {
    AddNode(i);
  }
  position_ += 2 * kTarBlockBytes;
  AddUnits();
  AddExtents();
  AddDirents();
  blob_.digest = Digest(RandomSha256(random_));
  blob_.windows_digest = blob_.windows_size_bytes == 0 ? Digest() : Digest(RandomSha256(random_));
  blob_.unit_count = static_cast<uint32_t>(data_.units.size());
  blob_.group_count = static_cast<uint32_t>(data_.groups.size());
  blob_.extent_count = static_cast<uint32_t>(data_.extents.size());
  data_.blobs.push_back(blob_);
  data_.producer = "test";
  return std::move(data_);
}

void ExpectSameInode(const LayerIndex& actual, const LayerIndex& expected, size_t number) {
  SCOPED_TRACE(number);
  const Inode& a = actual.data().inodes[number];
  const Inode& e = expected.data().inodes[number];
  EXPECT_EQ(a.mode, e.mode);
  EXPECT_EQ(a.uid, e.uid);
  EXPECT_EQ(a.gid, e.gid);
  EXPECT_EQ(a.rdev_major, e.rdev_major);
  EXPECT_EQ(a.rdev_minor, e.rdev_minor);
  EXPECT_EQ(a.flags, e.flags);
  EXPECT_EQ(a.mtime_seconds, e.mtime_seconds);
  EXPECT_EQ(a.mtime_nanoseconds, e.mtime_nanoseconds);
  EXPECT_EQ(a.size_bytes, e.size_bytes);
  EXPECT_EQ(actual.str(a.target), expected.str(e.target));
  ASSERT_EQ(a.dirent_count, e.dirent_count);
  for (size_t i = 0; i < a.dirent_count; ++i) {
    EXPECT_EQ(actual.str(actual.children(a)[i].name), expected.str(expected.children(e)[i].name));
    EXPECT_EQ(actual.children(a)[i].inode, expected.children(e)[i].inode);
  }
  ASSERT_EQ(a.segment_count, e.segment_count);
  for (size_t i = 0; i < a.segment_count; ++i) {
    const Segment& as = actual.segments(a)[i];
    const Segment& es = expected.segments(e)[i];
    EXPECT_EQ(as.file_offset, es.file_offset);
    EXPECT_EQ(as.length, es.length);
    EXPECT_EQ(as.blob, es.blob);
    EXPECT_EQ(as.device_offset, es.device_offset);
  }
  ASSERT_EQ(a.xattr_count, e.xattr_count);
  for (size_t i = 0; i < a.xattr_count; ++i) {
    EXPECT_EQ(actual.str(actual.xattrs(a)[i].name), expected.str(expected.xattrs(e)[i].name));
    EXPECT_EQ(actual.str(actual.xattrs(a)[i].value), expected.str(expected.xattrs(e)[i].value));
  }
}

void ExpectSameBlobs(const LayerIndexData& a, const LayerIndexData& e) {
  ASSERT_EQ(a.blobs.size(), e.blobs.size());
  for (size_t i = 0; i < a.blobs.size(); ++i) {
    EXPECT_EQ(a.blobs[i].digest, e.blobs[i].digest);
    EXPECT_EQ(a.blobs[i].size_bytes, e.blobs[i].size_bytes);
    EXPECT_EQ(a.blobs[i].media_type, e.blobs[i].media_type);
    EXPECT_EQ(a.blobs[i].device_size_bytes, e.blobs[i].device_size_bytes);
    EXPECT_EQ(a.blobs[i].windows_digest, e.blobs[i].windows_digest);
    EXPECT_EQ(a.blobs[i].windows_size_bytes, e.blobs[i].windows_size_bytes);
    EXPECT_EQ(a.blobs[i].first_unit, e.blobs[i].first_unit);
    EXPECT_EQ(a.blobs[i].unit_count, e.blobs[i].unit_count);
    EXPECT_EQ(a.blobs[i].first_group, e.blobs[i].first_group);
    EXPECT_EQ(a.blobs[i].group_count, e.blobs[i].group_count);
    EXPECT_EQ(a.blobs[i].first_extent, e.blobs[i].first_extent);
    EXPECT_EQ(a.blobs[i].extent_count, e.blobs[i].extent_count);
  }
}

void ExpectSameRecords(const LayerIndexData& a, const LayerIndexData& e) {
  ASSERT_EQ(a.units.size(), e.units.size());
  for (size_t i = 0; i < a.units.size(); ++i) {
    SCOPED_TRACE(i);
    EXPECT_EQ(a.units[i].blob, e.units[i].blob);
    EXPECT_EQ(a.units[i].range, e.units[i].range);
    EXPECT_EQ(a.units[i].decoded_length, e.units[i].decoded_length);
    EXPECT_EQ(a.units[i].codec, e.units[i].codec);
    EXPECT_EQ(a.units[i].bits, e.units[i].bits);
    EXPECT_EQ(a.units[i].window, e.units[i].window);
  }
  ASSERT_EQ(a.groups.size(), e.groups.size());
  for (size_t i = 0; i < a.groups.size(); ++i) {
    SCOPED_TRACE(i);
    EXPECT_EQ(a.groups[i].unit, e.groups[i].unit);
    EXPECT_EQ(a.groups[i].in_unit, e.groups[i].in_unit);
    EXPECT_EQ(a.groups[i].digest_kind, e.groups[i].digest_kind);
    EXPECT_EQ(a.groups[i].digest, e.groups[i].digest);
  }
  ASSERT_EQ(a.extents.size(), e.extents.size());
  for (size_t i = 0; i < a.extents.size(); ++i) {
    SCOPED_TRACE(i);
    EXPECT_EQ(a.extents[i].device_offset, e.extents[i].device_offset);
    EXPECT_EQ(a.extents[i].length, e.extents[i].length);
    EXPECT_EQ(a.extents[i].group, e.extents[i].group);
    EXPECT_EQ(a.extents[i].offset_in_group, e.extents[i].offset_in_group);
  }
}

}  // namespace

LayerIndexData SampleIndexData() {
  LayerIndexData data;
  AddSampleBlobs(data);
  AddSampleTree(data);
  data.diff_id = Digest::Of("diff");
  data.producer = "floe test";
  return data;
}

LayerIndexData RandomIndexData(std::mt19937_64& random, size_t files, uint64_t span_bytes) {
  return RandomLayer(random, span_bytes).Run(files);
}

void ExpectSameIndex(const LayerIndex& actual, const LayerIndex& expected) {
  EXPECT_EQ(actual.data().diff_id, expected.data().diff_id);
  EXPECT_EQ(actual.data().producer, expected.data().producer);
  ExpectSameBlobs(actual.data(), expected.data());
  ExpectSameRecords(actual.data(), expected.data());
  ASSERT_EQ(actual.data().prefetch.size(), expected.data().prefetch.size());
  for (size_t i = 0; i < actual.data().prefetch.size(); ++i) {
    EXPECT_EQ(actual.data().prefetch[i].first_unit, expected.data().prefetch[i].first_unit);
    EXPECT_EQ(actual.data().prefetch[i].unit_count, expected.data().prefetch[i].unit_count);
  }
  ASSERT_EQ(actual.data().inodes.size(), expected.data().inodes.size());
  for (size_t i = 0; i < actual.data().inodes.size(); ++i) {
    ExpectSameInode(actual, expected, i);
  }
}

}  // namespace floe::image
