#include "tests/image/rafs/rafs_writer.h"

#include <lz4.h>
#include <sys/stat.h>
#include <zstd.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "base/blake3.h"
#include "base/check.h"
#include "base/digest.h"
#include "image/little_endian.h"

namespace floe::image::rafs {
namespace {

constexpr uint32_t kRootNid = 128;
constexpr uint64_t kTablesAt = 4096;

void Put(std::string& to, uint64_t at, uint64_t value, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) {
    to[at + i] = static_cast<char>(value >> (8 * i));
  }
}

void PadTo(std::string& text, uint64_t alignment) {
  text.resize(AlignUp(text.size(), alignment), '\0');
}

std::span<const std::byte> BytesOf(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::string Compress(const std::string& text, Compressor compressor) {
  std::string out;
  size_t size = text.size();
  if (compressor == Compressor::kZstd) {
    out.resize(ZSTD_compressBound(text.size()));
    size = ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3);
  } else if (compressor == Compressor::kLz4Block) {
    out.resize(static_cast<size_t>(LZ4_compressBound(static_cast<int>(text.size()))));
    size = static_cast<size_t>(LZ4_compress_default(
        text.data(), out.data(), static_cast<int>(text.size()), static_cast<int>(out.size())));
  }
  return size < text.size() ? out.substr(0, size) : text;
}

struct ChunkOut {
  Sha256 digest{};
  uint32_t blob = 0, index = 0;
  uint64_t data_offset = 0, device_offset = 0, file_offset = 0;
  uint32_t data_bytes = 0, bytes = 0;
  bool compressed = false, in_batch = false;
  uint32_t in_batch_offset = 0;
};

struct BlobOut {
  std::string data;
  std::string batch;
  uint64_t device_bytes = 0;
  std::vector<size_t> chunks;
  ByteRange chunk_info;
  uint64_t context_bytes = 0;
};

struct NodeOut {
  const WriterNode* node = nullptr;
  std::string path;
  size_t parent = 0;
  std::vector<size_t> children;
  std::vector<size_t> chunks;
  uint64_t header_bytes = 0, xattr_bytes = 0, data_bytes = 0;
  bool inline_tail = false;
  uint64_t offset = 0;  // Of the inode, in the metadata area.
  uint64_t block = 0;   // Of the flat data's blocks, from the metadata area on.
};

class Writer {
 public:
  Writer(const WriterNode& root, const WriterOptions& options) : options_(options) {
    blobs_.resize(options.blob_count);
    AddNode(root, "", 0);
  }

  WrittenImage Run();

 private:
  size_t AddNode(const WriterNode& node, const std::string& path, size_t parent);
  void AddChunks(NodeOut& file);
  void FinishBlob(size_t number);
  std::string ChunkInfoOf(BlobOut& blob);
  std::string HeaderOf(const BlobOut& blob) const;
  [[nodiscard]] uint32_t Features() const;
  void Place();
  void WriteTables();
  void WriteInode(const NodeOut& node);
  void WriteXattrs(const NodeOut& node);
  void WriteFlat(const NodeOut& node, const std::string& data);
  void WriteIndexes(const NodeOut& node);
  std::string DirectoryData(const NodeOut& node) const;
  void WriteChunkTable();
  void WriteSuperblocks();
  [[nodiscard]] uint32_t Nid(const NodeOut& node) const {
    return static_cast<uint32_t>(node.offset / 32);
  }
  void Part(const std::string& name, uint64_t offset, uint64_t length) {
    if (length != 0) {
      image_.parts[name].push_back({offset, length});
    }
  }

  const WriterOptions& options_;
  std::vector<NodeOut> nodes_;
  std::vector<ChunkOut> chunks_;
  std::vector<BlobOut> blobs_;
  WrittenImage image_;
  uint64_t metadata_at_ = 0;                  // In the bootstrap.
  uint64_t inodes_end_ = 0, blocks_end_ = 0;  // In the metadata area.
  uint64_t prefetch_at_ = 0, chunk_table_at_ = 0;
};

uint64_t DirectoryBytes(std::vector<std::string> names) {
  names.insert(names.end(), {".", ".."});
  std::ranges::sort(names);
  uint64_t full = 0;
  uint64_t used = 0;
  for (const std::string& name : names) {
    if (used + 12 + name.size() > kBlockBytes) {
      full += kBlockBytes;
      used = 0;
    }
    used += 12 + name.size();
  }
  return full + used;
}

size_t Writer::AddNode(const WriterNode& node, const std::string& path, size_t parent) {
  const size_t number = nodes_.size();
  nodes_.emplace_back();
  NodeOut out;
  out.node = &node;
  out.path = path;
  out.parent = parent;
  out.header_bytes = options_.compact ? 32 : 64;
  for (const WriterNode::Xattr& xattr : node.xattrs) {
    out.xattr_bytes += AlignUp(4 + xattr.name.size() + xattr.value.size(), 4);
  }
  out.xattr_bytes += node.xattrs.empty() ? 0 : 12;
  out.data_bytes = S_ISREG(node.mode) || S_ISLNK(node.mode) ? node.content.size() : 0;
  std::vector<std::string> names;
  for (const WriterNode& child : node.children) {
    names.push_back(child.name);
    out.children.push_back(
        AddNode(child, path.empty() ? child.name : path + "/" + child.name, number));
  }
  if (S_ISDIR(node.mode)) {
    out.data_bytes = DirectoryBytes(std::move(names));
  } else if (S_ISREG(node.mode)) {
    AddChunks(out);
  }
  nodes_[number] = std::move(out);
  return number;
}

void Writer::AddChunks(NodeOut& file) {
  const std::string& content = file.node->content;
  for (uint64_t at = 0; at < content.size(); at += options_.chunk_bytes) {
    const std::string piece = content.substr(at, options_.chunk_bytes);
    ChunkOut chunk;
    chunk.blob = file.node->blobs[file.chunks.size() % file.node->blobs.size()];
    BlobOut& blob = blobs_[chunk.blob];
    chunk.digest = options_.digest_kind == DigestKind::kBlake3 ? Blake3(BytesOf(piece))
                                                               : Digest::Of(piece).bytes();
    chunk.index = static_cast<uint32_t>(blob.chunks.size());
    chunk.bytes = static_cast<uint32_t>(piece.size());
    chunk.file_offset = at;
    chunk.device_offset = blob.device_bytes;
    blob.device_bytes = AlignUp(blob.device_bytes + piece.size(), kBlockBytes);
    if (options_.batch && piece.size() < options_.chunk_bytes) {
      chunk.in_batch = true;
      chunk.in_batch_offset = static_cast<uint32_t>(blob.batch.size());
      blob.batch += piece;
    } else {
      const std::string data = Compress(piece, options_.compressor);
      chunk.data_offset = blob.data.size();
      chunk.data_bytes = static_cast<uint32_t>(data.size());
      chunk.compressed = data.size() != piece.size();
      blob.data += data;
    }
    blob.chunks.push_back(chunks_.size());
    file.chunks.push_back(chunks_.size());
    chunks_.push_back(chunk);
  }
}

uint32_t Writer::Features() const {
  return kBlobAligned | kBlobTarToc | (options_.chunk_info_v2 ? kBlobChunkInfoV2 : 0) |
         (options_.batch ? kBlobBatch : 0);
}

std::string Writer::ChunkInfoOf(BlobOut& blob) {
  const std::string batch = Compress(blob.batch, options_.compressor);
  const uint64_t batch_at = blob.data.size();
  blob.data += batch;
  std::string info;
  for (const size_t number : blob.chunks) {
    const ChunkOut& chunk = chunks_[number];
    const uint64_t size = chunk.bytes - 1;
    if (!options_.chunk_info_v2) {
      const uint64_t packed = chunk.data_bytes - 1;
      AppendLittleEndian(info, chunk.device_offset | (size & 0xFFFFF) << 44U | (size >> 20U) << 8U);
      AppendLittleEndian(info,
                         chunk.data_offset | (packed & 0xFFFFF) << 44U | (packed >> 20U) << 40U);
      continue;
    }
    const uint64_t flags = chunk.in_batch ? 5 : chunk.compressed ? 1 : 0;
    AppendLittleEndian(info, chunk.device_offset / kBlockBytes | size << 32U | flags << 56U);
    AppendLittleEndian(
        info, (chunk.in_batch ? batch_at : chunk.data_offset) | uint64_t{chunk.data_bytes} << 40U);
    AppendLittleEndian(info, uint64_t{chunk.in_batch_offset});
  }
  if (!blob.batch.empty()) {
    AppendLittleEndian(info, static_cast<uint32_t>(batch.size()));
    AppendLittleEndian(info, static_cast<uint32_t>(blob.batch.size()));
    info.append(32, '\0');
    blob.context_bytes = 40;
  }
  return info;
}

std::string Writer::HeaderOf(const BlobOut& blob) const {
  std::string header(kChunkInfoHeaderBytes, '\0');
  Put(header, 0, 0xb10bb10b, 4);
  Put(header, kChunkInfoHeaderBytes - 4, 0xb10bb10b, 4);
  Put(header, 4, Features(), 4);
  Put(header, 12, blob.chunks.size(), 4);
  Put(header, 16, blob.chunk_info.offset, 8);
  Put(header, 24, blob.chunk_info.length, 8);
  Put(header, 32, blob.chunk_info.length, 8);
  if (options_.batch) {
    Put(header, 40, blob.chunk_info.length - blob.context_bytes, 8);
    Put(header, 48, blob.context_bytes, 8);
    Put(header, 56, blob.context_bytes / 40, 4);
  }
  return header;
}

void Writer::FinishBlob(size_t number) {
  BlobOut& blob = blobs_[number];
  std::string info = ChunkInfoOf(blob);
  blob.chunk_info = {blob.data.size(), info.size()};
  const std::string header = HeaderOf(blob);
  image_.blobs.push_back(blob.data + info + header);
  image_.chunk_info.push_back(blob.chunk_info);
  PadTo(info, kBlockBytes);
  image_.chunk_info_files.push_back(info + header);
}

// Inodes first, with their tails; then whole blocks of directories and symlinks.
void Writer::Place() {
  uint64_t at = kRootNid * 32;
  for (NodeOut& node : nodes_) {
    const uint64_t before = node.header_bytes + node.xattr_bytes;
    uint64_t bytes = before;
    if (S_ISREG(node.node->mode)) {
      bytes = AlignUp(before, 8) + node.chunks.size() * 8;
    } else if (const uint64_t tail = node.data_bytes % kBlockBytes;
               tail != 0 && before + tail <= kBlockBytes) {
      node.inline_tail = true;
      bytes += tail;
    }
    if (at / kBlockBytes != (at + bytes - 1) / kBlockBytes) {
      at = AlignUp(at, kBlockBytes);
    }
    node.offset = at;
    image_.nids[node.path] = Nid(node);
    at = AlignUp(at + bytes, 32);
  }
  inodes_end_ = AlignUp(at, kBlockBytes);
  blocks_end_ = inodes_end_;
  for (NodeOut& node : nodes_) {
    if (S_ISREG(node.node->mode)) {
      continue;
    }
    node.block = blocks_end_;
    const uint64_t blocks = node.inline_tail ? AlignDown(node.data_bytes, kBlockBytes)
                                             : AlignUp(node.data_bytes, kBlockBytes);
    blocks_end_ += blocks;
  }
}

void Writer::WriteTables() {
  std::string& to = image_.bootstrap;
  to.assign(kTablesAt, '\0');
  for (size_t i = 0; i < blobs_.size(); ++i) {
    const BlobOut& blob = blobs_[i];
    const std::string id = Digest::Of(image_.blobs[i]).hex();
    const uint64_t slot = 1408 + (i * 128);
    to.replace(slot, id.size(), id);
    Put(to, slot + 64, blob.device_bytes / kBlockBytes, 4);
    std::string entry(256, '\0');
    entry.replace(0, id.size(), id);
    Put(entry, 64, i, 4);
    Put(entry, 68, options_.chunk_bytes, 4);
    Put(entry, 72, blob.chunks.size(), 4);
    Put(entry, 76, static_cast<uint32_t>(options_.compressor), 4);
    Put(entry, 80, options_.digest_kind == DigestKind::kBlake3 ? 0 : 1, 4);
    Put(entry, 84, Features(), 4);
    Put(entry, 88, image_.blobs[i].size(), 8);
    Put(entry, 96, blob.device_bytes, 8);
    Put(entry, 112, blob.chunk_info.offset, 8);
    Put(entry, 120, blob.chunk_info.length, 8);
    Put(entry, 128, blob.chunk_info.length, 8);
    to += entry;
  }
  Part("device slots", 1408, blobs_.size() * 128);
  Part("blob table", kTablesAt, blobs_.size() * 256);
  prefetch_at_ = to.size();
  for (const uint32_t nid : options_.prefetch) {
    AppendLittleEndian(to, nid);
  }
  PadTo(to, kBlockBytes);
  metadata_at_ = to.size() - kBlockBytes;  // So the root's number is 128 and nothing is wasted.
  to.resize(metadata_at_ + blocks_end_, '\0');
}

void Writer::WriteXattrs(const NodeOut& node) {
  uint64_t at = metadata_at_ + node.offset + node.header_bytes;
  Part("xattrs", at, node.xattr_bytes);
  at += 12;
  for (const WriterNode::Xattr& xattr : node.node->xattrs) {
    Put(image_.bootstrap, at, xattr.name.size(), 1);
    Put(image_.bootstrap, at + 1, xattr.index, 1);
    Put(image_.bootstrap, at + 2, xattr.value.size(), 2);
    const std::string text = xattr.name + xattr.value;
    image_.bootstrap.replace(at + 4, text.size(), text);
    at += AlignUp(4 + text.size(), 4);
  }
}

std::string Writer::DirectoryData(const NodeOut& node) const {
  struct Entry {
    std::string name;
    const NodeOut* node;
  };
  std::vector<Entry> entries = {{".", &node}, {"..", &nodes_[node.parent]}};
  for (const size_t child : node.children) {
    entries.push_back({nodes_[child].node->name, &nodes_[child]});
  }
  std::ranges::sort(entries, {}, &Entry::name);
  std::string data;
  for (size_t first = 0; first < entries.size();) {
    size_t used = 0;
    size_t last = first;
    for (; last < entries.size() && used + 12 + entries[last].name.size() <= kBlockBytes; ++last) {
      used += 12 + entries[last].name.size();
    }
    PadTo(data, kBlockBytes);
    uint64_t name_at = (last - first) * 12;
    std::string names;
    for (; first < last; ++first) {
      const std::map<uint32_t, uint8_t> types = {{S_IFREG, 1}, {S_IFDIR, 2}, {S_IFCHR, 3},
                                                 {S_IFBLK, 4}, {S_IFIFO, 5}, {S_IFSOCK, 6},
                                                 {S_IFLNK, 7}};
      AppendLittleEndian(data, uint64_t{Nid(*entries[first].node)});
      AppendLittleEndian(data, static_cast<uint16_t>(name_at + names.size()));
      AppendLittleEndian(data, types.at(entries[first].node->node->mode & S_IFMT));
      data.push_back('\0');
      names += entries[first].name;
    }
    data += names;
  }
  return data;
}

void Writer::WriteFlat(const NodeOut& node, const std::string& data) {
  FLOE_CHECK(data.size() == node.data_bytes);
  const uint64_t in_blocks = node.inline_tail ? AlignDown(data.size(), kBlockBytes) : data.size();
  const std::string name = S_ISDIR(node.node->mode) ? "dirents" : "targets";
  image_.bootstrap.replace(metadata_at_ + node.block, in_blocks, data, 0, in_blocks);
  Part(name, metadata_at_ + node.block, in_blocks);
  const uint64_t tail_at = metadata_at_ + node.offset + node.header_bytes + node.xattr_bytes;
  image_.bootstrap.replace(tail_at, data.size() - in_blocks, data, in_blocks);
  Part(name, tail_at, data.size() - in_blocks);
}

void Writer::WriteIndexes(const NodeOut& node) {
  const uint64_t start = AlignUp(node.offset + node.header_bytes + node.xattr_bytes, 8);
  uint64_t at = metadata_at_ + start;
  Part("chunk indexes", at, node.chunks.size() * 8);
  for (const size_t number : node.chunks) {
    const ChunkOut& chunk = chunks_[number];
    Put(image_.bootstrap, at, chunk.index & 0xFFFFU, 2);
    Put(image_.bootstrap, at + 2, (chunk.index >> 16U << 8U) | (chunk.blob + 1), 2);
    Put(image_.bootstrap, at + 4, chunk.device_offset / kBlockBytes, 4);
    at += 8;
  }
}

void Writer::WriteInode(const NodeOut& node) {
  const WriterNode& from = *node.node;
  const uint64_t at = metadata_at_ + node.offset;
  std::string& to = image_.bootstrap;
  Part("inodes", at, node.header_bytes);
  const uint32_t layout = S_ISREG(from.mode) ? 4 : node.inline_tail ? 2 : 0;
  uint64_t data = (metadata_at_ + node.block) / kBlockBytes;
  if (S_ISREG(from.mode)) {
    const uint64_t span = options_.wide_format ? std::bit_ceil(from.content.size()) : 0;
    const auto bits = std::bit_width(std::max<uint64_t>(span, options_.chunk_bytes)) - 13;
    data = 0x20U | static_cast<uint32_t>(bits);
  } else if (S_ISCHR(from.mode) || S_ISBLK(from.mode)) {
    data = from.device;
  }
  const auto links = 2 + std::ranges::count_if(from.children, [](const WriterNode& child) {
                       return S_ISDIR(child.mode);
                     });
  const auto link_count = static_cast<uint64_t>(S_ISDIR(from.mode) ? links : 1);
  Put(to, at, layout << 1U | (options_.compact ? 0 : 1), 2);
  Put(to, at + 2, node.xattr_bytes == 0 ? 0 : (node.xattr_bytes - 12) / 4 + 1, 2);
  Put(to, at + 4, from.mode, 2);
  if (options_.compact) {
    Put(to, at + 6, link_count, 2);
    Put(to, at + 8, node.data_bytes, 4);
    Put(to, at + 16, data, 4);
    Put(to, at + 24, from.uid, 2);
    Put(to, at + 26, from.gid, 2);
    return;
  }
  Put(to, at + 8, node.data_bytes, 8);
  Put(to, at + 16, data, 4);
  Put(to, at + 24, from.uid, 4);
  Put(to, at + 28, from.gid, 4);
  Put(to, at + 32, from.mtime, 8);
  Put(to, at + 44, link_count, 4);
}

void Writer::WriteChunkTable() {
  std::vector<ChunkOut> table = chunks_;
  if (options_.sorted_table) {
    std::ranges::sort(table, {}, &ChunkOut::digest);
  }
  chunk_table_at_ = image_.bootstrap.size();
  for (const ChunkOut& chunk : table) {
    std::string record(80, '\0');
    record.replace(0, 32, reinterpret_cast<const char*>(chunk.digest.data()), 32);
    Put(record, 32, chunk.blob, 4);
    Put(record, 36, chunk.compressed ? 1 : 0, 4);
    Put(record, 40, chunk.data_bytes, 4);
    Put(record, 44, chunk.bytes, 4);
    Put(record, 48, chunk.data_offset, 8);
    Put(record, 56, chunk.device_offset, 8);
    Put(record, 64, chunk.file_offset, 8);
    Put(record, 72, chunk.index, 4);
    image_.bootstrap += record;
  }
  Part("chunk table", chunk_table_at_, chunks_.size() * 80);
  PadTo(image_.bootstrap, kBlockBytes);
}

void Writer::WriteSuperblocks() {
  std::string& to = image_.bootstrap;
  Put(to, 1024, 0xE0F5E1E2, 4);
  Put(to, 1024 + 8, 0x40000000, 4);
  Put(to, 1024 + 12, 12, 1);
  Put(to, 1024 + 14, kRootNid, 2);
  Put(to, 1024 + 16, nodes_.size(), 8);
  Put(to, 1024 + 24, options_.build_time, 8);
  Put(to, 1024 + 36, 4096, 4);
  Put(to, 1024 + 40, metadata_at_ / kBlockBytes, 4);
  Put(to, 1024 + 80, 0xC, 4);
  Put(to, 1024 + 86, blobs_.size(), 2);
  Put(to, 1024 + 88, 11, 2);
  const std::map<Compressor, uint64_t> compressors = {{Compressor::kNone, 1},
                                                      {Compressor::kLz4Block, 2},
                                                      {Compressor::kGzip, 0x40},
                                                      {Compressor::kZstd, 0x80}};
  const uint64_t digest = options_.digest_kind == DigestKind::kBlake3 ? 4 : 8;
  Put(to, 1152, compressors.at(options_.compressor) | digest | 0x30 | 0x01000000, 8);
  Put(to, 1152 + 8, kTablesAt, 8);
  Put(to, 1152 + 16, blobs_.size() * 256, 4);
  Put(to, 1152 + 20, options_.chunk_bytes, 4);
  Put(to, 1152 + 24, chunk_table_at_, 8);
  Put(to, 1152 + 32, chunks_.size() * 80, 8);
  if (!options_.prefetch.empty()) {
    Put(to, 1152 + 40, prefetch_at_, 8);
    Put(to, 1152 + 48, options_.prefetch.size() * 4, 4);
  }
  Part("superblock", 1024, 128);
  Part("extended superblock", 1152, 256);
}

WrittenImage Writer::Run() {
  for (size_t i = 0; i < blobs_.size(); ++i) {
    FinishBlob(i);
  }
  Place();
  WriteTables();
  for (const NodeOut& node : nodes_) {
    WriteInode(node);
    if (!node.node->xattrs.empty()) {
      WriteXattrs(node);
    }
    if (S_ISDIR(node.node->mode)) {
      WriteFlat(node, DirectoryData(node));
    } else if (S_ISLNK(node.node->mode)) {
      WriteFlat(node, node.node->content);
    } else if (S_ISREG(node.node->mode)) {
      WriteIndexes(node);
    }
  }
  WriteChunkTable();
  WriteSuperblocks();
  return std::move(image_);
}

}  // namespace

WriterNode File(std::string name, std::string content, std::vector<uint32_t> blobs) {
  WriterNode node;
  node.name = std::move(name);
  node.mode = S_IFREG | 0644;
  node.content = std::move(content);
  node.blobs = std::move(blobs);
  return node;
}

WriterNode Directory(std::string name, std::vector<WriterNode> children) {
  WriterNode node;
  node.name = std::move(name);
  node.mode = S_IFDIR | 0755;
  node.children = std::move(children);
  return node;
}

WrittenImage WriteImage(const WriterNode& root, const WriterOptions& options) {
  return Writer(root, options).Run();
}

}  // namespace floe::image::rafs
