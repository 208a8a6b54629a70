#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/byte_range.h"
#include "base/digest.h"
#include "base/result.h"
#include "image/pax_records.h"

/// The ztoc: SOCI's index of one layer, a FlatBuffer (proto/soci/ztoc.fbs) that holds the table of
/// contents of its archive and where decoding can start in it (docs/layer-formats.md, "SOCI").
namespace floe::image {

/// Largest ztoc that is read: spans of 4 MiB make 32 GiB of archive out of it.
inline constexpr uint64_t kMaxZtocBytes = 256U << 20U;

/// How the layer is compressed.
enum class ZtocAlgorithm { kGzip, kUncompressed };

/// A part of the layer that is fetched, verified and decoded at once. The spans' decoded ranges, in
/// order, are the whole archive; only the last may be empty.
struct ZtocSpan {
  ByteRange range;    ///< Of the blob: exactly what the digest is of. Neighbours may share a byte.
  ByteRange decoded;  ///< Of the archive.
  uint8_t bits = 0;   ///< As image::Unit::bits.
  Sha256 digest{};    ///< Of the compressed bytes.
  /// The output that precedes the span, at most 32768 bytes; empty for the first.
  std::string_view window;
};

/// An entry of the archive, in its order. Strings are raw bytes.
struct ZtocEntry {
  char type = 0;  ///< As image::TarEntry: '0' to '6'.
  std::string_view name;
  std::string_view link_name;
  int64_t mode = 0;
  uint32_t uid = 0, gid = 0;
  int64_t dev_major = 0, dev_minor = 0;
  PaxTime mtime;
  ByteRange data;  ///< Of the archive; regular files.
  /// Keyword and value of every PAX record of the entry, those of attributes among them.
  std::vector<std::pair<std::string_view, std::string_view>> pax_records;
};

struct Ztoc {
  ZtocAlgorithm algorithm = ZtocAlgorithm::kGzip;
  uint64_t blob_bytes = 0;     ///< Of the layer as the registry holds it.
  uint64_t archive_bytes = 0;  ///< Of the archive that it decodes to.
  /// The first span's place is not written down but taken to be byte 10, which is right only for a
  /// gzip header without optional fields: see CheckImpliedGzipHeader.
  bool start_is_implied = false;
  std::vector<ZtocSpan> spans;
  std::vector<ZtocEntry> entries;
};

/// Checks everything before it is used; the result refers to `bytes`, which must outlive it (a
/// string, because its bytes are aligned as FlatBuffers must be). InvalidArgument: not a ztoc;
/// DataLoss: it contradicts itself (counts, order, sizes); Unimplemented: another version or
/// compression than those above. Work and memory are bounded by a multiple of the bytes.
Result<Ztoc> ParseZtoc(const std::string& bytes);
Result<Ztoc> ParseZtoc(std::string&& bytes) = delete;

/// How much of the layer CheckImpliedGzipHeader looks at.
inline constexpr size_t kPlainGzipHeaderBytes = 10;

/// For ztocs whose start is implied: whether the layer's first bytes are a gzip header of 10 bytes
/// (RFC 1952: no flags). InvalidArgument: no gzip header; Unimplemented: a longer one.
Result<void> CheckImpliedGzipHeader(std::span<const std::byte> first_bytes);

}  // namespace floe::image
