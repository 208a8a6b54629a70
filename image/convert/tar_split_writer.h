#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace floe::image {

/// CRC-64 with the polynomial of ISO 3309, as Go's hash/crc64 computes it.
class Crc64Iso {
 public:
  void Update(std::span<const std::byte> bytes);
  [[nodiscard]] uint64_t value() const { return ~state_; }

 private:
  uint64_t state_ = ~uint64_t{0};
};

/// Writes a tar-split stream (github.com/vbatts/tar-split, tar/storage): the archive without its
/// files' contents, one JSON object a line, compressed with zstd as it comes. *Segments* are bytes
/// of the archive (the padding of the file before and all headers of an entry), *files* stand for
/// the content of an entry. podman's reader takes partial pulls only of layers that have one, and
/// refuses those in which it contradicts the table of contents. One thread at a time; memory: the
/// compressed stream.
class TarSplitWriter {
 public:
  static Result<std::unique_ptr<TarSplitWriter>> Create(int level);
  virtual ~TarSplitWriter() = default;
  virtual Result<void> AddSegment(std::string_view bytes) = 0;
  /// An entry's place; `crc` is of its content and counts only where there is some.
  virtual Result<void> AddFile(std::string_view name, uint64_t size_bytes, uint64_t crc) = 0;

  struct Stream {
    std::string compressed;
    uint64_t raw_bytes = 0;
    [[nodiscard]] bool empty() const { return compressed.empty(); }
  };
  virtual Result<Stream> Finish() = 0;
};

}  // namespace floe::image
