#include "image/soci/ztoc_checkpoints.h"

#include <algorithm>
#include <span>

#include "image/inflate_stream.h"
#include "image/little_endian.h"
#include "soci/ztoc_generated.h"

namespace floe::image {
namespace {

constexpr size_t kHeadBytes = 4 + 8;
constexpr size_t kRecordBytes = 8 + 8 + 1 + kInflateWindowBytes;

struct Checkpoint {
  uint64_t in = 0;   ///< Of the blob: the first byte that belongs to nobody before it.
  uint64_t out = 0;  ///< Of the archive.
  uint8_t bits = 0;
  std::string_view window;
};

template <std::unsigned_integral T>
T Load(std::string_view bytes, size_t at) {
  return LoadLittleEndian<T>(std::as_bytes(std::span(bytes)).data() + at);
}

Checkpoint ReadRecord(std::string_view record) {
  Checkpoint checkpoint{.in = Load<uint64_t>(record, 0),
                        .out = Load<uint64_t>(record, 8),
                        .bits = Load<uint8_t>(record, 16),
                        .window = record.substr(17)};
  // What precedes the archive's start is of no meaning.
  const uint64_t known = std::min<uint64_t>(checkpoint.out, kInflateWindowBytes);
  checkpoint.window.remove_prefix(kInflateWindowBytes - known);
  return checkpoint;
}

// Version 1 of zinfo leaves the first record out, for a gzip header of the usual length.
Result<std::vector<Checkpoint>> ReadRecords(std::string_view bytes, bool& start_is_implied) {
  if (bytes.size() < kHeadBytes || (bytes.size() - kHeadBytes) % kRecordBytes != 0) {
    return InvalidArgument("checkpoints of {} bytes", bytes.size());
  }
  const uint64_t records = (bytes.size() - kHeadBytes) / kRecordBytes;
  const uint64_t have = Load<uint32_t>(bytes, 0);
  if (have == 0 || (records != have && records != have - 1)) {
    return DataLoss("{} checkpoints in {} bytes", have, bytes.size());
  }
  start_is_implied = records != have;
  std::vector<Checkpoint> checkpoints;
  checkpoints.reserve(have);
  if (start_is_implied) {
    checkpoints.push_back({.in = kPlainGzipHeaderBytes, .out = 0, .bits = 0, .window = {}});
  }
  for (uint64_t i = 0; i < records; ++i) {
    checkpoints.push_back(ReadRecord(bytes.substr(kHeadBytes + i * kRecordBytes, kRecordBytes)));
  }
  return checkpoints;
}

Result<void> CheckFirst(const Checkpoint& first) {
  if (first.in < kPlainGzipHeaderBytes || first.out != 0 || first.bits != 0) {
    return DataLoss("the first checkpoint is at byte {} ({} bits), {} decoded", first.in,
                    first.bits, first.out);
  }
  return Ok();
}

// `end`: where the next one is, or the blob and the archive end.
Result<void> CheckOrder(const Checkpoint& checkpoint, const Checkpoint& end, bool is_last) {
  const bool empty_output = checkpoint.out == end.out && is_last;
  if (checkpoint.in >= end.in || (checkpoint.out >= end.out && !empty_output)) {
    return DataLoss("a checkpoint at byte {}, {} decoded, and then one at byte {}, {} decoded",
                    checkpoint.in, checkpoint.out, end.in, end.out);
  }
  if (checkpoint.bits > 7) {
    return DataLoss("a checkpoint at byte {} with {} bits", checkpoint.in, checkpoint.bits);
  }
  return Ok();
}

//  blob   | in - 1 | in | ...          bits: the first byte is shared with the span before.
ZtocSpan SpanBetween(const Checkpoint& begin, const Checkpoint& end) {
  const uint64_t first_byte = begin.in - (begin.bits != 0 ? 1 : 0);
  return {.range = {.offset = first_byte, .length = end.in - first_byte},
          .decoded = {.offset = begin.out, .length = end.out - begin.out},
          .bits = begin.bits,
          .digest = {},
          .window = begin.window};
}

Result<uint64_t> CountTarSpans(uint64_t archive_bytes, int64_t span_bytes, uint64_t max_spans) {
  if (span_bytes <= 0) {
    return DataLoss("spans of {} bytes", span_bytes);
  }
  const auto step = static_cast<uint64_t>(span_bytes);
  const uint64_t count = archive_bytes / step + (archive_bytes % step != 0 ? 1 : 0);
  if (count > max_spans) {
    return DataLoss("{} spans of {} bytes, but {} digests", count, span_bytes, max_spans);
  }
  return count;
}

}  // namespace

Result<ZtocCheckpoints> ParseGzipCheckpoints(std::string_view bytes, uint64_t blob_bytes,
                                             uint64_t archive_bytes) {
  ZtocCheckpoints result;
  FLOE_ASSIGN_OR_RETURN(std::vector<Checkpoint> checkpoints,
                        ReadRecords(bytes, result.start_is_implied));
  FLOE_RETURN_IF_ERROR(CheckFirst(checkpoints.front()));
  checkpoints.push_back({.in = blob_bytes, .out = archive_bytes, .bits = 0, .window = {}});
  for (size_t i = 0; i + 1 < checkpoints.size(); ++i) {
    const bool is_last = i + 2 == checkpoints.size();
    FLOE_RETURN_IF_ERROR(CheckOrder(checkpoints[i], checkpoints[i + 1], is_last));
    result.spans.push_back(SpanBetween(checkpoints[i], checkpoints[i + 1]));
  }
  return result;
}

Result<ZtocCheckpoints> ParseTarCheckpoints(std::string_view bytes, uint64_t blob_bytes,
                                            uint64_t archive_bytes, uint64_t max_spans) {
  const std::string aligned(bytes);
  flatbuffers::Verifier::Options options;
  options.max_depth = 1;
  options.max_tables = 1;
  flatbuffers::Verifier verifier(reinterpret_cast<const uint8_t*>(aligned.data()), aligned.size(),
                                 options);
  if (!verifier.VerifyBuffer<soci::fbs::TarZinfo>(nullptr)) {
    return InvalidArgument("checkpoints of {} bytes are no TarZinfo", bytes.size());
  }
  const auto* info = flatbuffers::GetRoot<soci::fbs::TarZinfo>(aligned.data());
  if (blob_bytes != archive_bytes || info->size() < 0 ||
      static_cast<uint64_t>(info->size()) != archive_bytes) {
    return DataLoss("an archive of {} bytes, not compressed, has {} bytes, or {}", archive_bytes,
                    blob_bytes, info->size());
  }
  FLOE_ASSIGN_OR_RETURN(const uint64_t count,
                        CountTarSpans(archive_bytes, info->span_size(), max_spans));
  ZtocCheckpoints result;
  const auto step = static_cast<uint64_t>(info->span_size());
  for (uint64_t i = 0; i < count; ++i) {
    const ByteRange range{.offset = i * step, .length = std::min(step, archive_bytes - i * step)};
    result.spans.push_back(
        {.range = range, .decoded = range, .bits = 0, .digest = {}, .window = {}});
  }
  return result;
}

}  // namespace floe::image
