#include "tests/erofs/tree_dump.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <ostream>

#include "base/check.h"
#include "base/file.h"
#include "erofs/reader.h"

namespace floe::erofs::testing {
namespace {

std::string Join(const std::string& directory, std::string_view name) {
  return directory == "." ? std::string(name) : directory + "/" + std::string(name);
}

class Dumper {
 public:
  Dumper(const BootstrapReader& reader, const std::vector<std::string_view>& devices)
      : reader_(reader), devices_(devices) {}

  Result<void> Dump(const std::string& path, uint64_t nid) {
    FLOE_ASSIGN_OR_RETURN(const InodeInfo inode, reader_.ReadInode(nid));
    FLOE_ASSIGN_OR_RETURN(Row row, RowOf(inode));
    row.same_inode_as = first_path_.try_emplace(nid, path).first->second;
    tree_[path] = std::move(row);
    if (!S_ISDIR(inode.mode)) {
      return Ok();
    }
    std::vector<DirentInfo> dirents;
    FLOE_RETURN_IF_ERROR(reader_.ReadDirectory(inode, dirents));
    for (const DirentInfo& dirent : dirents) {
      if (dirent.name != "." && dirent.name != "..") {
        FLOE_RETURN_IF_ERROR(Dump(Join(path, dirent.name), dirent.nid));
      }
    }
    return Ok();
  }

  Tree& tree() { return tree_; }

 private:
  Result<Row> RowOf(const InodeInfo& inode) {
    Row row{.mode = inode.mode,
            .uid = inode.uid,
            .gid = inode.gid,
            .nlink = inode.nlink,
            .mtime_seconds = inode.mtime_seconds,
            .mtime_nanoseconds = inode.mtime_nanoseconds,
            .rdev_major = inode.rdev_major,
            .rdev_minor = inode.rdev_minor};
    FLOE_ASSIGN_OR_RETURN(const std::vector<XattrInfo> xattrs, reader_.ReadXattrs(inode));
    for (const XattrInfo& xattr : xattrs) {
      row.xattrs[xattr.name] = xattr.value;
    }
    if (S_ISLNK(inode.mode)) {
      FLOE_ASSIGN_OR_RETURN(row.content, reader_.ReadSymlink(inode));
      row.size_bytes = inode.size_bytes;
    } else if (S_ISREG(inode.mode)) {
      row.size_bytes = inode.size_bytes;
      FLOE_ASSIGN_OR_RETURN(const std::vector<FilePiece> pieces, reader_.ReadPieces(inode));
      for (const FilePiece& piece : pieces) {
        row.content +=
            piece.device == 0
                ? std::string(piece.length, '\0')
                : std::string(
                      devices_.at(piece.device - 1U).substr(piece.device_offset, piece.length));
      }
    }
    return row;
  }

  const BootstrapReader& reader_;
  const std::vector<std::string_view>& devices_;
  std::map<uint64_t, std::string> first_path_;
  Tree tree_;
};

Xattrs XattrsOfPath(const std::string& path) {
  Xattrs xattrs;
  std::string names(65536, '\0');
  const ssize_t length = ::llistxattr(path.c_str(), names.data(), names.size());
  FLOE_CHECK(length >= 0);
  for (const char* name = names.data(); name < names.data() + length;
       name += std::string_view(name).size() + 1) {
    std::string value(65536, '\0');
    const ssize_t size = ::lgetxattr(path.c_str(), name, value.data(), value.size());
    FLOE_CHECK(size >= 0);
    value.resize(static_cast<size_t>(size));
    xattrs[name] = value;
  }
  return xattrs;
}

Row RowOfPath(const std::string& path) {
  struct stat info{};
  FLOE_CHECK(::lstat(path.c_str(), &info) == 0);
  const bool device = S_ISCHR(info.st_mode) || S_ISBLK(info.st_mode);
  Row row{.mode = info.st_mode,
          .uid = info.st_uid,
          .gid = info.st_gid,
          .nlink = static_cast<uint32_t>(info.st_nlink),
          .mtime_seconds = info.st_mtim.tv_sec,
          .mtime_nanoseconds = static_cast<uint32_t>(info.st_mtim.tv_nsec),
          .rdev_major = device ? major(info.st_rdev) : 0,
          .rdev_minor = device ? minor(info.st_rdev) : 0,
          .xattrs = XattrsOfPath(path)};
  if (S_ISLNK(info.st_mode)) {
    row.content.resize(4096);
    const ssize_t length = ::readlink(path.c_str(), row.content.data(), row.content.size());
    FLOE_CHECK(length >= 0);
    row.content.resize(static_cast<size_t>(length));
    row.size_bytes = static_cast<uint64_t>(info.st_size);
  } else if (S_ISREG(info.st_mode)) {
    row.size_bytes = static_cast<uint64_t>(info.st_size);
    auto content = ReadFile(path);
    FLOE_CHECK(content.has_value());
    row.content = std::move(content).value();
  }
  return row;
}

using FirstPaths = std::map<std::pair<dev_t, ino_t>, std::string>;

void DumpPath(const std::string& root, const std::string& path, FirstPaths& first_path,
              Tree& tree) {
  const std::string full = root + "/" + path;
  struct stat info{};
  FLOE_CHECK(::lstat(full.c_str(), &info) == 0);
  Row row = RowOfPath(full);
  row.same_inode_as = first_path.try_emplace({info.st_dev, info.st_ino}, path).first->second;
  tree[path] = std::move(row);
  if (!S_ISDIR(info.st_mode)) {
    return;
  }
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(full)) {
    names.push_back(entry.path().filename().native());
  }
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    DumpPath(root, Join(path, name), first_path, tree);
  }
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const Row& row) {
  out << std::oct << row.mode << std::dec << " " << row.uid << ":" << row.gid << " nlink "
      << row.nlink << " mtime " << row.mtime_seconds << "." << row.mtime_nanoseconds << " size "
      << row.size_bytes << " rdev " << row.rdev_major << ":" << row.rdev_minor << " same as "
      << row.same_inode_as << " content '" << row.content.substr(0, 40) << "'";
  for (const auto& [name, value] : row.xattrs) {
    out << " " << name << "=" << value.substr(0, 40);
  }
  return out;
}

Result<Tree> DumpBootstrap(std::string_view image, const std::vector<std::string_view>& devices) {
  FLOE_ASSIGN_OR_RETURN(const BootstrapReader reader, BootstrapReader::Open(image));
  FLOE_RETURN_IF_ERROR(reader.Validate());
  Dumper dumper(reader, devices);
  FLOE_RETURN_IF_ERROR(dumper.Dump(".", reader.root_nid()));
  return std::move(dumper.tree());
}

Tree DumpDirectory(const std::string& directory) {
  Tree tree;
  FirstPaths first_path;
  DumpPath(directory, ".", first_path, tree);
  return tree;
}

std::vector<std::string_view> DevicesOf(const Bootstrap& bootstrap,
                                        const std::vector<const LayerFixture*>& layers) {
  std::vector<std::string_view> devices;
  for (const BootstrapDevice& device : bootstrap.devices) {
    devices.emplace_back(layers[device.layer]->devices()[device.blob]);
  }
  return devices;
}

Result<Tree> Merge(const std::vector<const LayerFixture*>& layers, WhiteoutForm form) {
  FLOE_ASSIGN_OR_RETURN(const Bootstrap bootstrap, Stack(layers).Write(form));
  return DumpBootstrap(bootstrap.bytes, DevicesOf(bootstrap, layers));
}

std::vector<std::string> Paths(const Tree& tree) {
  std::vector<std::string> paths;
  for (const auto& [path, row] : tree) {
    paths.push_back(path);
  }
  return paths;
}

}  // namespace floe::erofs::testing
