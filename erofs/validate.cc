// BootstrapReader::Validate: what is true of the tree as a whole.
#include <sys/stat.h>

#include <vector>

#include "base/byte_range.h"
#include "erofs/reader.h"
#include "image/layer_index.h"

namespace floe::erofs {
namespace {

class Validator {
 public:
  explicit Validator(const BootstrapReader& reader)
      : reader_(reader),
        claimed_(reader.size_bytes() / kSlotBytes, false),
        names_(reader.size_bytes() / kSlotBytes, 0) {}

  Result<void> Run() {
    const uint64_t table_bytes = reader_.devices().size() * sizeof(DeviceSlot);
    FLOE_RETURN_IF_ERROR(Claim("the superblock", 0, 0, kSuperOffset + sizeof(SuperBlock)));
    FLOE_RETURN_IF_ERROR(Claim("the device table", 0,
                               reader_.super().device_table_slot * sizeof(DeviceSlot),
                               table_bytes));
    FLOE_ASSIGN_OR_RETURN(const InodeInfo root, reader_.ReadInode(reader_.root_nid()));
    FLOE_RETURN_IF_ERROR(EnterInode(root));
    directories_.push_back({root.nid, root.nid, 0});
    while (!directories_.empty()) {
      const Directory directory = directories_.back();
      directories_.pop_back();
      FLOE_RETURN_IF_ERROR(CheckDirectory(directory));
    }
    return CheckLinks();
  }

 private:
  struct Directory {
    uint64_t nid = 0;
    uint64_t parent = 0;
    uint32_t depth = 0;
  };
  struct Inode {
    uint64_t nid = 0;
    uint32_t nlink = 0;
  };

  /// Nothing may lie where something else does; everything begins on a slot.
  Result<void> Claim(std::string_view what, uint64_t nid, uint64_t offset, uint64_t length) {
    for (uint64_t at = offset; at < offset + length; at += kSlotBytes) {
      if (claimed_[at / kSlotBytes]) {
        return DataLoss("{} {} overlaps something at byte {}", what, nid, at);
      }
      claimed_[at / kSlotBytes] = true;
    }
    return Ok();
  }

  /// A new inode: checks all of it but a directory's entries.
  Result<void> EnterInode(const InodeInfo& inode) {
    FLOE_RETURN_IF_ERROR(
        Claim("inode", inode.nid, inode.offset, BootstrapReader::InodeBytes(inode)));
    if (inode.blocks_offset != 0) {
      const uint64_t tail =
          inode.layout == DataLayout::kFlatInline ? inode.size_bytes % kBlockBytes : 0;
      FLOE_RETURN_IF_ERROR(Claim("data of inode", inode.nid, inode.blocks_offset,
                                 AlignUp(inode.size_bytes - tail, kBlockBytes)));
    }
    if (auto xattrs = reader_.ReadXattrs(inode); !xattrs.has_value()) {
      return xattrs.error();
    }
    if (S_ISLNK(inode.mode)) {
      if (auto target = reader_.ReadSymlink(inode); !target.has_value()) {
        return target.error();
      }
    } else if (S_ISREG(inode.mode)) {
      if (auto pieces = reader_.ReadPieces(inode); !pieces.has_value()) {
        return pieces.error();
      }
    }
    inodes_.push_back({inode.nid, inode.nlink});
    return Ok();
  }

  Result<void> CheckDirectory(const Directory& directory) {
    if (directory.depth > image::kMaxTreeDepth) {
      return DataLoss("directory {} is nested deeper than {}", directory.nid, image::kMaxTreeDepth);
    }
    FLOE_ASSIGN_OR_RETURN(const InodeInfo inode, reader_.ReadInode(directory.nid));
    FLOE_RETURN_IF_ERROR(reader_.ReadDirectory(inode, dirents_));
    uint32_t dots = 0;
    for (const DirentInfo& dirent : dirents_) {
      if (dirent.name == "." || dirent.name == "..") {
        ++dots;
        FLOE_RETURN_IF_ERROR(CheckDots(directory, dirent));
      } else {
        FLOE_RETURN_IF_ERROR(CheckEntry(directory, dirent));
      }
    }
    if (dots != 2) {
      return DataLoss("directory {} lacks . or ..", directory.nid);
    }
    return Ok();
  }

  Result<void> CheckDots(const Directory& directory, const DirentInfo& dirent) {
    const uint64_t expected = dirent.name == "." ? directory.nid : directory.parent;
    if (dirent.nid != expected || dirent.file_type != FileTypeOfMode(S_IFDIR)) {
      return DataLoss("directory {} has a wrong {}: inode {}", directory.nid, dirent.name,
                      dirent.nid);
    }
    ++names_[dirent.nid];
    return Ok();
  }

  Result<void> CheckEntry(const Directory& directory, const DirentInfo& dirent) {
    FLOE_ASSIGN_OR_RETURN(const InodeInfo inode, reader_.ReadInode(dirent.nid));
    if (dirent.file_type != FileTypeOfMode(inode.mode)) {
      return DataLoss("directory {} names inode {} of mode {:o} as type {}", directory.nid,
                      dirent.nid, inode.mode, dirent.file_type);
    }
    const bool known = names_[dirent.nid]++ != 0;
    if (S_ISDIR(inode.mode)) {
      if (known || dirent.nid == reader_.root_nid()) {
        return DataLoss("directory {} is reached twice", dirent.nid);
      }
      directories_.push_back({dirent.nid, directory.nid, directory.depth + 1});
    }
    return known ? Ok() : EnterInode(inode);
  }

  Result<void> CheckLinks() const {
    for (const Inode& inode : inodes_) {
      // The root has no name of its own, but ".." names it once more.
      if (names_[inode.nid] != inode.nlink) {
        return DataLoss("inode {} has {} links but {} names", inode.nid, inode.nlink,
                        names_[inode.nid]);
      }
    }
    if (inodes_.size() != reader_.super().inode_count) {
      return DataLoss("the superblock counts {} inodes, the tree has {}",
                      reader_.super().inode_count, inodes_.size());
    }
    return Ok();
  }

  const BootstrapReader& reader_;
  std::vector<bool> claimed_;    ///< By slot of the image.
  std::vector<uint32_t> names_;  ///< By nid: how many dirents name it.
  std::vector<Inode> inodes_;
  std::vector<Directory> directories_;  ///< Still to be checked.
  std::vector<DirentInfo> dirents_;     ///< Scratch.
};

}  // namespace

Result<void> BootstrapReader::Validate() const { return Validator(*this).Run(); }

}  // namespace floe::erofs
