#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "image/pax_records.h"
#include "image/tar_header.h"

namespace floe::image {

/// A run of a regular file's bytes: where it lies in the file and where in the archive.
struct TarFragment {
  uint64_t file_offset = 0;
  uint64_t archive_offset = 0;
  uint64_t length = 0;
};

/// One entry of an archive, with its extended headers applied. Names are raw bytes, not cleaned.
struct TarEntry {
  /// '0' regular file, '1' hard link, '2' symlink, '3' character and '4' block device,
  /// '5' directory, '6' fifo, 'g' global header; any other type flag as it stands.
  char type = 0;
  std::string name;
  std::string link_name;
  int64_t mode = 0;  ///< Only the low 12 bits mean anything.
  int64_t uid = 0, gid = 0;
  int64_t mtime_seconds = 0;
  uint32_t mtime_nanoseconds = 0;
  int64_t dev_major = 0, dev_minor = 0;
  /// Full name and value of every SCHILY.xattr record; sorted by name, unique.
  std::vector<std::pair<std::string, std::string>> xattrs;
  uint64_t size_bytes = 0;  ///< Regular files: of the whole file, holes included.
  /// Regular files: sorted, no overlaps, none empty; what they leave out are zeros.
  std::vector<TarFragment> data;
  /// Where the archive goes on behind the entry's headers (and sparse map), and how many bytes of
  /// content follow there before the padding to the next block.
  uint64_t content_offset = 0, content_bytes = 0;
};

/// Gets the entries of an archive in order. An error ends the reading.
class TarEntrySink {
 public:
  virtual ~TarEntrySink() = default;
  virtual Result<void> OnEntry(const TarEntry& entry) = 0;
  /// Bytes of what TarEntry::data of the last entry maps, never empty, in order; valid during the
  /// call only.
  virtual Result<void> OnContent(uint64_t /*archive_offset*/,
                                 std::span<const std::byte> /*bytes*/) {
    return Ok();
  }
};

/// Reads a tar archive from bytes as they come and hands each entry to the sink as soon as its
/// headers (and sparse map) are complete; file contents are passed on or skipped, never kept.
///
/// Formats: v7, ustar, star and GNU headers, GNU long names ('L', 'K'), PAX ('x') with GNU sparse
/// files 0.0, 0.1 and 1.0. What Go's archive/tar (and so containerd) accepts is accepted, and means
/// the same: global headers ('g') are checked and delivered, but change no later entry; the archive
/// ends at two zero blocks, whatever follows, or where the bytes end between two entries.
/// Refused: old GNU sparse entries (type 'S'), sizes above kMaxFileBytes, special contents above
/// kMaxTarSpecialBytes. Errors of the reader are InvalidArgument; all, the sink's too, are prefixed
/// with the offset of the header in the archive. After one the reader must not be used again. One
/// thread at a time; memory is bounded by one entry's headers.
class TarReader {
 public:
  /// `sink` must outlive the reader.
  explicit TarReader(TarEntrySink& sink) : sink_(sink) {}

  Result<void> Feed(std::span<const std::byte> bytes);
  /// No more bytes come. InvalidArgument when the archive is cut off.
  Result<void> Finish();

 private:
  enum class State {
    kHeader,     ///< Collects a header block.
    kSpecial,    ///< Collects the content of an 'x', 'g', 'L' or 'K' entry.
    kSparseMap,  ///< Collects blocks of a sparse map in front of the data.
    kData,       ///< Passes content on.
    kPadding,    ///< Skips what fills the last block; the archive may end in it.
    kEnd,        ///< After two zero blocks; ignores everything.
  };

  /// Takes what it can use from the front of `bytes`.
  Result<void> Step(std::span<const std::byte>& bytes);
  /// Collects one block; true when block_ is complete.
  bool FillBlock(std::span<const std::byte>& bytes);
  /// At most `left` bytes off the front; lowers `left`.
  std::span<const std::byte> Take(std::span<const std::byte>& bytes, uint64_t& left);

  Result<void> OnData(std::span<const std::byte>& bytes);
  Result<void> OnBlock();
  Result<void> OnHeader();
  Result<void> OnSpecial();
  Result<void> OnPaxRecords();
  Result<void> OnFile();
  Result<void> FillEntry();
  Result<void> StartContent();
  Result<void> StartSparse(SparseFormat format);
  Result<void> OnSparseBlock();
  /// Maps `runs` to the data, which begins at the current position.
  Result<void> MapData(const std::vector<SparseRun>& runs);
  /// Delivers entry_ and goes on after its content.
  Result<void> Emit();
  void SkipRest();

  TarEntrySink& sink_;
  State state_ = State::kHeader;
  uint64_t position_ = 0;         ///< In the archive, of the next byte to take.
  uint64_t header_position_ = 0;  ///< Of the header block being worked on.
  bool zero_block_seen_ = false;
  std::array<std::byte, kTarBlockBytes> block_{};
  size_t block_filled_ = 0;
  uint64_t data_left_ = 0;
  uint64_t padding_left_ = 0;

  TarHeader header_;
  std::string special_;
  // What extended headers say about the next entry; forgotten with every entry that is delivered.
  PaxRecords records_;
  std::string long_name_, long_link_;
  SparseMapReader sparse_map_;
  TarEntry entry_;
};

}  // namespace floe::image
