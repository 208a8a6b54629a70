#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/byte_range.h"
#include "image/rafs/blob_table.h"

namespace floe::image::rafs {

/// An entry of the tree to write. Mode decides which fields mean something.
struct WriterNode {
  struct Xattr {
    uint8_t index = 1;  ///< 1 user, 4 trusted, 6 security.
    std::string name;
    std::string value;
  };

  std::string name;
  uint32_t mode = 0;
  std::string content = {};  ///< Of a file; target of a symlink.
  std::vector<WriterNode> children = {};
  /// Files: chunk i lies in blob blobs[i % size].
  std::vector<uint32_t> blobs = {0};
  std::vector<Xattr> xattrs = {};
  uint32_t uid = 0, gid = 0;
  uint32_t device = 0;
  uint64_t mtime = 1700000000;
};

WriterNode File(std::string name, std::string content, std::vector<uint32_t> blobs = {0});
WriterNode Directory(std::string name, std::vector<WriterNode> children);

struct WriterOptions {
  bool compact = false;  ///< Inodes of 32 bytes.
  uint32_t blob_count = 1;
  uint32_t chunk_bytes = 4096;
  Compressor compressor = Compressor::kZstd;
  DigestKind digest_kind = DigestKind::kBlake3;
  bool chunk_info_v2 = false;
  bool batch = false;        ///< Chunks that do not fill chunk_bytes share a batch; needs V2.
  bool wide_format = false;  ///< The format word spans the whole file.
  bool sorted_table = true;  ///< The chunk table, by digest.
  std::vector<uint32_t> prefetch = {};  ///< Inode numbers.
  uint64_t build_time = 1234567890;
};

struct WrittenImage {
  std::string bootstrap;
  std::vector<std::string> blobs;             ///< Data, chunk information, its header.
  std::vector<std::string> chunk_info_files;  ///< As in a bootstrap layer.
  std::vector<ByteRange> chunk_info;          ///< Of each blob: without the header.
  /// Where in the bootstrap things are: "superblock", "extended superblock", "device slots", "blob
  /// table", "inodes", "dirents", "xattrs", "chunk indexes", "chunk table".
  std::map<std::string, std::vector<ByteRange>> parts;
  std::map<std::string, uint32_t> nids;  ///< By path ("", "a/b").
};

/// A RAFS v6 image, written from the description of the format and not with the reader's code.
/// Children must be sorted by name; the root has no name.
WrittenImage WriteImage(const WriterNode& root, const WriterOptions& options);

}  // namespace floe::image::rafs
