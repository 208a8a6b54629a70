#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "image/layer_index.h"

namespace floe::image {

/// A tar archive made by hand, one call per entry. Numbers are written as given, also wrong ones.
class TarArchive {
 public:
  struct Options {
    char type = '0';
    std::string link_name = {};
    int64_t mode = 0644;
    int64_t uid = 0, gid = 0;
    int64_t mtime = 1700000000;
    int64_t dev_major = 0, dev_minor = 0;
    std::string_view magic = std::string_view("ustar\00000", 8);
    /// PAX records for an 'x' header in front; keyword and value.
    std::vector<std::pair<std::string, std::string>> pax = {};
    /// Written into the size field instead of the content's size.
    int64_t size = -1;
  };

  TarArchive& Add(std::string_view name, std::string_view content, const Options& options);
  TarArchive& File(std::string_view name, std::string_view content = "");
  TarArchive& Directory(std::string_view name, int64_t mode = 0755);
  TarArchive& Symlink(std::string_view name, std::string_view target);
  TarArchive& HardLink(std::string_view name, std::string_view target);
  /// An 'x' or 'g' header with these records, or an 'L' or 'K' one with this content.
  TarArchive& Special(char type, std::string_view content);
  TarArchive& Raw(std::string_view bytes);
  /// Two zero blocks.
  TarArchive& End();

  [[nodiscard]] const std::string& bytes() const { return bytes_; }
  /// Where the next entry begins.
  [[nodiscard]] size_t offset() const { return bytes_.size(); }

 private:
  std::string bytes_;
};

/// "LENGTH KEYWORD=VALUE\n"
std::string PaxRecord(std::string_view keyword, std::string_view value);

/// A ustar header block with a right checksum.
std::string HeaderBlock(std::string_view name, uint64_t size, const TarArchive::Options& options);

/// Sets the checksum field to the sum of the (signed or unsigned) bytes.
void SetChecksum(std::string& block, bool as_signed = false);

/// Reads the archive and lays it out over plain units of span_bytes, cut into groups of
/// group_bytes.
Result<LayerIndexData> BuildLayer(const TarArchive& archive, uint64_t span_bytes = 4096,
                                  uint64_t group_bytes = 4096);

/// One line an entry, in the order of a walk through the tree (children sorted):
///   PATH KIND MODE UID:GID MTIME [size=N] [-> TARGET] [dev=A:B] [name=value ...] [flags]
/// KIND is one of "dir file symlink char block fifo whiteout"; a later name of an inode ends with
/// "=FIRST PATH"; flags are "implied" and "opaque".
std::vector<std::string> Describe(const LayerIndexData& data);

/// Inode of a path ("a/b"; "" is the root); nullptr when there is none or it is a whiteout.
const Inode* FindInode(const LayerIndexData& data, std::string_view path);

/// The device of blobs[0], put together from the archive with the extents; what no extent covers is
/// zero. `archive` are all decoded bytes, `unit_starts` where each unit's output begins in them.
std::string BuildDevice(const LayerIndexData& data, std::string_view archive,
                        const std::vector<uint64_t>& unit_starts);

/// A file's bytes, read from the device through its segments.
std::string ReadInode(const LayerIndexData& data, const Inode& inode, std::string_view device);

}  // namespace floe::image
