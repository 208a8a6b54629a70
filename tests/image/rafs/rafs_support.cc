#include "tests/image/rafs/rafs_support.h"

#include <sys/stat.h>

#include <algorithm>
#include <iterator>
#include <sstream>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "image/group_digest.h"
#include "image/unit_decoder.h"

namespace floe::image::rafs {
namespace {

using Json = nlohmann::json;

struct Name {
  std::string path;
  uint32_t inode = 0;
};

std::vector<Name> AllNames(const LayerIndex& index) {
  std::vector<Name> names = {{"", 0}};
  for (size_t at = 0; at < names.size(); ++at) {
    const Name parent = names[at];
    for (const Dirent& dirent : index.children(index.data().inodes[parent.inode])) {
      const std::string prefix = parent.path.empty() ? "" : parent.path + "/";
      names.push_back({prefix + std::string(index.str(dirent.name)), dirent.inode});
    }
  }
  names.front().path = ".";
  std::ranges::sort(names, {}, &Name::path);
  return names;
}

Json XattrsJson(const LayerIndex& index, const Inode& inode) {
  Json all = Json::object();
  for (const Xattr& xattr : index.xattrs(inode)) {
    const std::string_view value = index.str(xattr.value);
    all[std::string(index.str(xattr.name))] =
        HexEncode({reinterpret_cast<const uint8_t*>(value.data()), value.size()});
  }
  return all;
}

Json RowOf(const LayerIndex& index, const Name& name, std::span<const std::string> devices) {
  const Inode& inode = index.data().inodes[name.inode];
  Json row{{"path", name.path},
           {"type", inode.mode & S_IFMT},
           {"mode", inode.mode & 07777U},
           {"uid", inode.uid},
           {"gid", inode.gid}};
  if (!S_ISDIR(inode.mode)) {
    row["mtime"] = inode.mtime_seconds;
  }
  if (S_ISREG(inode.mode)) {
    row["size"] = inode.size_bytes;
    row["sha256"] = Digest::Of(ReadFileOf(index, inode, devices)).hex();
  }
  if (S_ISLNK(inode.mode)) {
    row["target"] = index.str(inode.target);
  }
  if (S_ISCHR(inode.mode) || S_ISBLK(inode.mode)) {
    row["rdev"] = {inode.rdev_major, inode.rdev_minor};
  }
  if (inode.xattr_count != 0) {
    row["xattrs"] = XattrsJson(index, inode);
  }
  return row;
}

std::vector<std::string> SortedRows(const std::string& text) {
  std::vector<std::string> rows;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    rows.push_back(Json::parse(line).dump());
  }
  std::ranges::sort(rows);
  return rows;
}

}  // namespace

std::filesystem::path FixtureRoot() { return FLOE_SOURCE_DIR "/../shared/fixtures"; }

Bytes AsBytes(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }

BlobReader BlobsIn(const std::filesystem::path& directory) {
  return [directory](const Digest& digest) {
    return ReadFile(directory / digest.hex()).value_or(std::string());
  };
}

Result<std::string> DecodeUnit(const Unit& unit, std::string_view blob, std::string_view windows) {
  UnitView view;
  view.range = unit.range;
  view.decoded_length = unit.decoded_length;
  view.codec = unit.codec;
  view.bits = unit.bits;
  view.window = unit.window;
  if (unit.range.end() > blob.size() || unit.window.end() > windows.size()) {
    return DataLoss("a unit at {}+{} of {} bytes", unit.range.offset, unit.range.length,
                    blob.size());
  }
  std::string out(unit.decoded_length, '?');
  FLOE_RETURN_IF_ERROR(
      UnitDecoder().Decode(view, AsBytes(blob.substr(unit.range.offset, unit.range.length)),
                           AsBytes(windows.substr(unit.window.offset, unit.window.length)),
                           std::as_writable_bytes(std::span(out.data(), out.size()))));
  return out;
}

Result<void> GroupMatches(const Group& group, std::string_view decoded_unit) {
  GroupView view;
  view.digest_kind = group.digest_kind;
  view.digest = group.digest;
  return CheckGroupDigest(
      view, AsBytes(decoded_unit.substr(group.in_unit.offset, group.in_unit.length)), {});
}

Result<std::vector<std::string>> FillDevices(const LayerIndex& index,
                                             std::span<const std::string> windows,
                                             const BlobReader& blobs) {
  const LayerIndexData& data = index.data();
  std::vector<std::string> outputs;
  std::vector<std::string> devices;
  for (size_t i = 0; i < data.blobs.size(); ++i) {
    const SourceBlob& source = data.blobs[i];
    const std::string blob = blobs(source.digest);
    if (source.unit_count != 0 && blob.size() != source.size_bytes) {
      return DataLoss("blob {} has {} bytes of {}", i, blob.size(), source.size_bytes);
    }
    for (const Unit& unit : index.units(source)) {
      FLOE_ASSIGN_OR_RETURN(outputs.emplace_back(), DecodeUnit(unit, blob, windows[i]));
    }
    for (const Group& group : index.groups(source)) {
      FLOE_RETURN_IF_ERROR(GroupMatches(group, outputs[group.unit]));
    }
    std::string& device = devices.emplace_back(source.device_size_bytes, '\0');
    for (const Extent& extent : index.extents(source)) {
      const Group& group = data.groups[extent.group];
      device.replace(extent.device_offset, extent.length, outputs[group.unit],
                     group.in_unit.offset + extent.offset_in_group, extent.length);
    }
  }
  return devices;
}

std::string ReadFileOf(const LayerIndex& index, const Inode& file,
                       std::span<const std::string> devices) {
  std::string content(file.size_bytes, '\0');
  for (const Segment& segment : index.segments(file)) {
    content.replace(segment.file_offset, segment.length, devices[segment.blob],
                    segment.device_offset, segment.length);
  }
  return content;
}

const Inode* FindPath(const LayerIndex& index, std::string_view path) {
  for (const Name& name : AllNames(index)) {
    if (name.path == path) {
      return &index.data().inodes[name.inode];
    }
  }
  return nullptr;
}

std::vector<std::string> DescribeTree(const LayerIndex& index,
                                      std::span<const std::string> devices) {
  std::map<uint32_t, std::string> first;
  std::vector<std::string> rows;
  for (const Name& name : AllNames(index)) {
    Json row = RowOf(index, name, devices);
    const std::string& path = first.emplace(name.inode, name.path).first->second;
    if (path != name.path && S_ISREG(index.data().inodes[name.inode].mode)) {
      row["same_inode_as"] = path;
    }
    rows.push_back(row.dump());
  }
  return rows;
}

std::vector<std::string> CompareWithCorpus(const LayerIndex& index,
                                           std::span<const std::string> devices) {
  const auto text = ReadFile(FixtureRoot() / "corpus/expected-tree.jsonl");
  if (!text) {
    return {text.error().ToString()};
  }
  const std::vector<std::string> expected = SortedRows(*text);
  std::vector<std::string> found = DescribeTree(index, devices);
  std::ranges::sort(found);
  std::vector<std::string> missing;
  std::vector<std::string> added;
  std::ranges::set_difference(expected, found, std::back_inserter(missing));
  std::ranges::set_difference(found, expected, std::back_inserter(added));
  std::vector<std::string> differences;
  for (const std::string& row : missing) {
    differences.push_back("-" + row);
  }
  for (const std::string& row : added) {
    differences.push_back("+" + row);
  }
  return differences;
}

Result<std::vector<BlobSource>> SourcesIn(const std::filesystem::path& directory,
                                          const Bootstrap& bootstrap) {
  std::vector<BlobSource> sources;
  for (const Blob& blob : bootstrap.blobs) {
    FLOE_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(directory / blob.digest.hex()));
    BlobSource& source = sources.emplace_back();
    source.size_bytes = bytes.size();
    const ByteRange range = blob.ChunkInfoRange();
    if (range.end() > bytes.size()) {
      return DataLoss("chunk information at {} of {}", range.offset, bytes.size());
    }
    FLOE_ASSIGN_OR_RETURN(
        source.chunk_info,
        ReadChunkInfoRange(AsBytes(bytes).subspan(range.offset, range.length), blob));
  }
  return sources;
}

}  // namespace floe::image::rafs
