#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "image/rafs/inode.h"

namespace floe::image::rafs {

/// One name in a directory; the name points into the bootstrap.
struct DirectoryEntry {
  std::string_view name;
  uint64_t nid = 0;
  uint8_t file_type = 0;
};

/// The entries without "." and "..", in order. DataLoss: names that are not strictly ascending,
/// blocks that contradict themselves, "." and ".." that are missing or name other inodes than the
/// directory itself and `parent`. Names are not checked further.
Result<std::vector<DirectoryEntry>> ReadDirectory(Bytes bootstrap, const InodeRecord& directory,
                                                  uint64_t parent);

/// The file type that a directory says for an inode of this mode; 0: there is none.
uint8_t FileTypeOf(uint32_t mode);

}  // namespace floe::image::rafs
