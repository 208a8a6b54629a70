#include "tests/image/tar_support.h"

#include <sys/stat.h>

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "base/check.h"
#include "image/layer_builder.h"
#include "image/tar_reader.h"

namespace floe::image {
namespace {

constexpr size_t kBlock = 512;

void Put(std::string& block, size_t offset, size_t length, std::string_view text) {
  text = text.substr(0, length);
  std::copy(text.begin(), text.end(), block.begin() + static_cast<ptrdiff_t>(offset));
}

/// Octal where it fits, else base-256.
void PutNumber(std::string& block, size_t offset, size_t length, int64_t value) {
  const std::string octal = fmt::format("{:0{}o}", value, length - 1);
  if (value >= 0 && octal.size() < length) {
    Put(block, offset, length, octal);
    return;
  }
  for (size_t i = 0; i < length; ++i) {
    const size_t shift = 8 * (length - 1 - i);
    const int64_t part = shift < 64 ? value >> shift : (value < 0 ? -1 : 0);
    block[offset + i] = static_cast<char>(part & 0xFF);
  }
  block[offset] = static_cast<char>(static_cast<uint8_t>(block[offset]) | 0x80U);
}

std::string Padded(std::string_view content) {
  std::string padded(content);
  padded.resize((padded.size() + kBlock - 1) / kBlock * kBlock);
  return padded;
}

std::string_view Text(const LayerIndexData& data, StringRef ref) {
  return std::string_view(data.strings).substr(ref.offset, ref.length);
}

std::string_view Kind(uint32_t mode) {
  switch (mode & S_IFMT) {
    case S_IFDIR:
      return "dir";
    case S_IFREG:
      return "file";
    case S_IFLNK:
      return "symlink";
    case S_IFCHR:
      return "char";
    case S_IFBLK:
      return "block";
    case S_IFIFO:
      return "fifo";
    default:
      return "?";
  }
}

std::string DescribeInode(const LayerIndexData& data, const Inode& inode) {
  std::string line = fmt::format("{} {:o} {}:{} {}", Kind(inode.mode), inode.mode & 07777U,
                                 inode.uid, inode.gid, inode.mtime_seconds);
  if (inode.mtime_nanoseconds != 0) {
    line += fmt::format(".{:09}", inode.mtime_nanoseconds);
  }
  if (S_ISREG(inode.mode)) {
    line += fmt::format(" size={}", inode.size_bytes);
  }
  if (S_ISLNK(inode.mode)) {
    line += fmt::format(" -> {}", Text(data, inode.target));
  }
  if (S_ISCHR(inode.mode) || S_ISBLK(inode.mode)) {
    line += fmt::format(" dev={}:{}", inode.rdev_major, inode.rdev_minor);
  }
  for (uint32_t i = 0; i < inode.xattr_count; ++i) {
    const Xattr& xattr = data.xattrs[inode.first_xattr + i];
    line += fmt::format(" {}={}", Text(data, xattr.name), Text(data, xattr.value));
  }
  line += (inode.flags & kInodeImplied) != 0 ? " implied" : "";
  line += (inode.flags & kInodeOpaque) != 0 ? " opaque" : "";
  return line;
}

void Walk(const LayerIndexData& data, uint32_t number, const std::string& path,
          std::map<uint32_t, std::string>& first_paths, std::vector<std::string>& lines) {
  if (number == kWhiteoutInode) {
    lines.push_back(path + " whiteout");
    return;
  }
  const Inode& inode = data.inodes[number];
  const auto [first, is_new] = first_paths.emplace(number, path);
  lines.push_back(fmt::format("{} {}{}", path.empty() ? "." : path, DescribeInode(data, inode),
                              is_new ? "" : " =" + first->second));
  for (uint32_t i = 0; i < inode.dirent_count; ++i) {
    const Dirent& dirent = data.dirents[inode.first_dirent + i];
    Walk(data, dirent.inode,
         fmt::format("{}{}{}", path, path.empty() ? "" : "/", Text(data, dirent.name)), first_paths,
         lines);
  }
}

}  // namespace

std::string PaxRecord(std::string_view keyword, std::string_view value) {
  const size_t rest = keyword.size() + value.size() + 3;
  size_t length = rest;
  while (length != rest + std::to_string(length).size()) {
    length = rest + std::to_string(length).size();
  }
  return fmt::format("{} {}={}\n", length, keyword, value);
}

void SetChecksum(std::string& block, bool as_signed) {
  Put(block, 148, 8, "        ");
  int64_t sum = 0;
  for (char c : block) {
    sum += as_signed ? int64_t{static_cast<int8_t>(c)} : int64_t{static_cast<uint8_t>(c)};
  }
  Put(block, 148, 8, fmt::format("{:06o}", sum) + std::string("\0 ", 2));
}

std::string HeaderBlock(std::string_view name, uint64_t size, const TarArchive::Options& options) {
  std::string block(kBlock, '\0');
  Put(block, 0, 100, name);
  PutNumber(block, 100, 8, options.mode);
  PutNumber(block, 108, 8, options.uid);
  PutNumber(block, 116, 8, options.gid);
  PutNumber(block, 124, 12, static_cast<int64_t>(size));
  PutNumber(block, 136, 12, options.mtime);
  block[156] = options.type;
  Put(block, 157, 100, options.link_name);
  Put(block, 257, 8, options.magic);
  if (!options.magic.empty()) {
    PutNumber(block, 329, 8, options.dev_major);
    PutNumber(block, 337, 8, options.dev_minor);
  }
  SetChecksum(block);
  return block;
}

TarArchive& TarArchive::Add(std::string_view name, std::string_view content,
                            const Options& options) {
  if (!options.pax.empty()) {
    std::string records;
    for (const auto& [keyword, value] : options.pax) {
      records += PaxRecord(keyword, value);
    }
    Special('x', records);
  }
  const uint64_t size =
      options.size >= 0 ? static_cast<uint64_t>(options.size) : uint64_t{content.size()};
  bytes_ += HeaderBlock(name, size, options);
  bytes_ += Padded(content);
  return *this;
}

TarArchive& TarArchive::File(std::string_view name, std::string_view content) {
  return Add(name, content, {});
}

TarArchive& TarArchive::Directory(std::string_view name, int64_t mode) {
  return Add(name, "", {.type = '5', .mode = mode});
}

TarArchive& TarArchive::Symlink(std::string_view name, std::string_view target) {
  return Add(name, "", {.type = '2', .link_name = std::string(target), .mode = 0777});
}

TarArchive& TarArchive::HardLink(std::string_view name, std::string_view target) {
  return Add(name, "", {.type = '1', .link_name = std::string(target)});
}

TarArchive& TarArchive::Special(char type, std::string_view content) {
  return Add(type == 'L' || type == 'K' ? "././@LongLink" : "pax_header", content, {.type = type});
}

TarArchive& TarArchive::Raw(std::string_view bytes) {
  bytes_ += bytes;
  return *this;
}

TarArchive& TarArchive::End() {
  bytes_.append(2 * kBlock, '\0');
  return *this;
}

Result<LayerIndexData> BuildLayer(const TarArchive& archive, uint64_t span_bytes,
                                  uint64_t group_bytes) {
  const std::string_view bytes = archive.bytes();
  LayerBuilder builder;
  TarReader reader(builder);
  FLOE_RETURN_IF_ERROR(reader.Feed(std::as_bytes(std::span(bytes.data(), bytes.size()))));
  FLOE_RETURN_IF_ERROR(reader.Finish());
  std::vector<Unit> units;
  std::vector<Group> groups;
  for (uint64_t at = 0; at < bytes.size(); at += span_bytes) {
    const uint64_t length = std::min<uint64_t>(span_bytes, bytes.size() - at);
    for (uint64_t in = 0; in < length; in += group_bytes) {
      const uint64_t size = std::min(group_bytes, length - in);
      groups.push_back({.unit = static_cast<uint32_t>(units.size()),
                        .in_unit = {in, size},
                        .digest = Digest::Of(bytes.substr(at + in, size)).bytes()});
    }
    units.push_back({.range = {at, length}, .decoded_length = length, .window = {}});
  }
  SourceBlob blob;
  blob.digest = Digest::Of(bytes);
  blob.size_bytes = bytes.size();
  return builder.Finish(std::move(blob), {.units = units, .groups = groups});
}

std::vector<std::string> Describe(const LayerIndexData& data) {
  std::vector<std::string> lines;
  std::map<uint32_t, std::string> first_paths;
  Walk(data, 0, "", first_paths, lines);
  return lines;
}

const Inode* FindInode(const LayerIndexData& data, std::string_view path) {
  const Inode* inode = data.inodes.data();
  while (!path.empty()) {
    const std::string_view name = path.substr(0, path.find('/'));
    path.remove_prefix(std::min(path.size(), name.size() + 1));
    const Dirent* first = data.dirents.data() + inode->first_dirent;
    const Dirent* found =
        std::find_if(first, first + inode->dirent_count,
                     [&](const Dirent& dirent) { return Text(data, dirent.name) == name; });
    if (found == first + inode->dirent_count || found->inode == kWhiteoutInode) {
      return nullptr;
    }
    inode = &data.inodes[found->inode];
  }
  return inode;
}

std::string BuildDevice(const LayerIndexData& data, std::string_view archive,
                        const std::vector<uint64_t>& unit_starts) {
  std::string device(data.blobs[0].device_size_bytes, '\0');
  for (const Extent& extent : data.extents) {
    const Group& group = data.groups[extent.group];
    FLOE_CHECK(extent.offset_in_group + extent.length <= group.in_unit.length);
    const uint64_t from = unit_starts[group.unit] + group.in_unit.offset + extent.offset_in_group;
    FLOE_CHECK(extent.device_offset + extent.length <= device.size());
    device.replace(extent.device_offset, extent.length, archive.substr(from, extent.length));
  }
  return device;
}

std::string ReadInode(const LayerIndexData& data, const Inode& inode, std::string_view device) {
  std::string content(inode.size_bytes, '\0');
  for (uint32_t i = 0; i < inode.segment_count; ++i) {
    const Segment& segment = data.segments[inode.first_segment + i];
    content.replace(segment.file_offset, segment.length,
                    device.substr(segment.device_offset, segment.length));
  }
  return content;
}

}  // namespace floe::image
