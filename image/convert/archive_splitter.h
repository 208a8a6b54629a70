#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>

#include "base/result.h"
#include "image/tar_reader.h"

namespace floe::image {

/// Gets every byte of an archive, in order and unchanged, and is told what it is:
///
///   header... | entry | content... | padding... | header... | entry | header (the archive's end)
///
/// Bytes are never empty and valid during the call only. An error ends the reading.
class ArchiveSink {
 public:
  virtual ~ArchiveSink() = default;
  /// Of the headers in front of the next entry; of what ends the archive where none follows.
  virtual Result<void> OnHeaderBytes(std::span<const std::byte> bytes) = 0;
  /// All of its header bytes have come; entry.content_bytes of content follow.
  virtual Result<void> OnEntry(const TarEntry& entry) = 0;
  virtual Result<void> OnContent(std::span<const std::byte> bytes) = 0;
  /// What fills the entry's last block.
  virtual Result<void> OnPadding(std::span<const std::byte> bytes) = 0;
};

/// Cuts an archive at the boundaries that TarReader finds. Errors are TarReader's and the sink's.
/// One thread at a time; memory: the entries whose headers lie in the bytes of one Feed.
class ArchiveSplitter final : private TarEntrySink {
 public:
  /// `sink` must outlive the splitter.
  explicit ArchiveSplitter(ArchiveSink& sink) : sink_(sink), reader_(*this) {}

  Result<void> Feed(std::span<const std::byte> bytes);
  Result<void> Finish() { return reader_.Finish(); }

 private:
  Result<void> OnEntry(const TarEntry& entry) override;
  Result<void> Step(std::span<const std::byte>& bytes);
  Result<void> StepHeader(std::span<const std::byte>& bytes);
  std::span<const std::byte> TakeUntil(uint64_t offset, std::span<const std::byte>& bytes);

  ArchiveSink& sink_;
  TarReader reader_;
  std::deque<TarEntry> entries_;  ///< Found, but not yet reached.
  uint64_t position_ = 0;         ///< In the archive, of the next byte to hand out.
  uint64_t content_end_ = 0;      ///< Of the last entry ...
  uint64_t padding_end_ = 0;      ///< ... and of its padding.
};

}  // namespace floe::image
