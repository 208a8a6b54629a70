#include "image/soci/ztoc_layer.h"

#include <zstd.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "base/quote.h"
#include "image/inflate_stream.h"
#include "image/layer_builder.h"
#include "image/unit_windows.h"

namespace floe::image {
namespace {

constexpr std::string_view kXattrPrefix = "SCHILY.xattr.";
constexpr std::string_view kSparsePrefix = "GNU.sparse.";
// Windows stay on this node, and a start waits for them.
constexpr int kWindowLevel = 3;

// --- entries ---

Result<void> CheckNotSparse(const ZtocEntry& entry) {
  PaxRecords records;
  for (const auto& [keyword, value] : entry.pax_records) {
    if (keyword.starts_with(kSparsePrefix)) {
      records.insert_or_assign(std::string(keyword), std::string(value));
    }
  }
  if (DetectSparseFormat(records) != SparseFormat::kNone) {
    return Unimplemented("sparse files: a ztoc does not say where their holes are");
  }
  return Ok();
}

Result<void> AddXattrs(const ZtocEntry& entry, TarEntry& to) {
  for (const auto& [keyword, value] : entry.pax_records) {
    if (keyword.starts_with(kXattrPrefix)) {
      to.xattrs.emplace_back(keyword.substr(kXattrPrefix.size()), value);
    }
  }
  std::ranges::sort(to.xattrs);
  const auto same_name = [](const auto& a, const auto& b) { return a.first == b.first; };
  if (const auto twice = std::ranges::adjacent_find(to.xattrs, same_name);
      twice != to.xattrs.end()) {
    return DataLoss("extended attribute {} twice", Quote(twice->first));
  }
  return Ok();
}

TarEntry AsTarEntry(const ZtocEntry& entry) {
  TarEntry to;
  to.type = entry.type;
  to.name = entry.name;
  to.link_name = entry.link_name;
  to.mode = entry.mode;
  to.uid = entry.uid;
  to.gid = entry.gid;
  to.mtime_seconds = entry.mtime.seconds;
  to.mtime_nanoseconds = entry.mtime.nanoseconds;
  to.dev_major = entry.dev_major;
  to.dev_minor = entry.dev_minor;
  to.size_bytes = entry.data.length;
  if (!entry.data.empty()) {
    to.data.push_back(
        {.file_offset = 0, .archive_offset = entry.data.offset, .length = entry.data.length});
  }
  return to;
}

Result<void> AddEntry(const ZtocEntry& entry, const ZtocLayerOptions& options,
                      LayerBuilder& builder) {
  TarEntry tar = AsTarEntry(entry);
  Result<void> checked = CheckNotSparse(entry);
  if (checked.has_value() && !options.disable_xattrs) {
    checked = AddXattrs(entry, tar);
  }
  if (!checked.has_value()) {
    return WithContext(std::move(checked).error(), Quote(entry.name));
  }
  return builder.OnEntry(tar);
}

// --- spans ---

class WindowCompressor {
 public:
  /// Appends one zstd frame.
  Result<ByteRange> Append(std::string_view window, std::string& to) {
    if (context_ == nullptr) {
      return ResourceExhausted("no memory for a zstd context");
    }
    const uint64_t offset = to.size();
    to.resize(offset + ZSTD_compressBound(window.size()));
    const size_t size = Compress(window, to.data() + offset, to.size() - offset);
    if (ZSTD_isError(size) != 0) {
      return ResourceExhausted("zstd: {}", ZSTD_getErrorName(size));
    }
    to.resize(offset + size);
    return ByteRange{.offset = offset, .length = size};
  }

 private:
  // The spans' digests do not cover the windows, so each frame carries its own checksum.
  size_t Compress(std::string_view window, char* to, size_t capacity) {
    ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_compressionLevel, kWindowLevel);
    ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_checksumFlag, 1);
    return ZSTD_compress2(context_.get(), to, capacity, window.data(), window.size());
  }

  std::unique_ptr<ZSTD_CCtx, size_t (*)(ZSTD_CCtx*)> context_{ZSTD_createCCtx(), ZSTD_freeCCtx};
};

/// Units, groups and windows of all spans.
struct SpanUnits {
  std::vector<Unit> units;
  std::vector<Group> groups;
  std::string windows;
};

Result<Unit> AsUnit(const ZtocSpan& span, ZtocAlgorithm algorithm) {
  if (span.decoded.length > kMaxUnitBytes || span.range.length > kMaxUnitRangeBytes) {
    return Unimplemented("a span of {} bytes that decodes to {}, at most {} and {}",
                         span.range.length, span.decoded.length, kMaxUnitRangeBytes, kMaxUnitBytes);
  }
  // The digest leaves a gzip header out, so the first span too is deflate without one.
  return Unit{.blob = 0,
              .range = span.range,
              .decoded_length = span.decoded.length,
              .codec = algorithm == ZtocAlgorithm::kGzip ? Codec::kDeflate : Codec::kPlain,
              .bits = span.bits,
              .window = {}};
}

Result<SpanUnits> MakeUnits(const Ztoc& ztoc) {
  SpanUnits all;
  WindowCompressor compressor;
  for (const ZtocSpan& span : ztoc.spans) {
    if (span.decoded.empty()) {
      continue;  // The last one: between its checkpoint and the end of the stream is no output.
    }
    FLOE_ASSIGN_OR_RETURN(Unit unit, AsUnit(span, ztoc.algorithm));
    if (!span.window.empty()) {
      FLOE_ASSIGN_OR_RETURN(unit.window, compressor.Append(span.window, all.windows));
    }
    all.groups.push_back({.unit = static_cast<uint32_t>(all.units.size()),
                          .in_unit = {.offset = 0, .length = unit.decoded_length},
                          .digest_kind = DigestKind::kCompressedSha256,
                          .digest = span.digest});
    all.units.push_back(unit);
  }
  return all;
}

// --- prefetch ---

/// The number of each span's unit; kNoUnit where the layout left it out.
constexpr uint32_t kNoUnit = std::numeric_limits<uint32_t>::max();

std::vector<uint32_t> UnitsOfSpans(const Ztoc& ztoc, std::span<const Unit> units) {
  std::vector<uint32_t> numbers;
  numbers.reserve(ztoc.spans.size());
  uint32_t next = 0;
  for (const ZtocSpan& span : ztoc.spans) {
    const bool is_kept = next < units.size() && units[next].range == span.range;
    numbers.push_back(is_kept ? next++ : kNoUnit);
  }
  return numbers;
}

void AppendToPrefetch(uint32_t unit, bool joins, std::vector<PrefetchRun>& to) {
  if (joins && to.back().first_unit + to.back().unit_count == unit) {
    ++to.back().unit_count;
  } else {
    to.push_back({.first_unit = unit, .unit_count = 1});
  }
}

// Each unit once, where it is named first.
Result<void> AddPrefetch(const Ztoc& ztoc, std::span<const SociSpanRun> runs,
                         LayerIndexData& data) {
  std::vector<uint32_t> units = UnitsOfSpans(ztoc, data.units);
  for (const SociSpanRun& run : runs) {
    if (run.last >= units.size()) {
      return DataLoss("spans {} to {} of {} are to be prefetched", run.first, run.last,
                      units.size());
    }
    const size_t before = data.prefetch.size();
    for (uint64_t span = run.first; span <= run.last; ++span) {
      if (const uint32_t unit = std::exchange(units[span], kNoUnit); unit != kNoUnit) {
        AppendToPrefetch(unit, data.prefetch.size() > before, data.prefetch);
      }
    }
  }
  return Ok();
}

}  // namespace

Result<IndexedLayer> IndexZtocLayer(const Ztoc& ztoc, const LayerSource& source,
                                    const ZtocLayerOptions& options) {
  if (ztoc.blob_bytes != source.size_bytes) {
    return DataLoss("the ztoc is of a layer of {} bytes, this one has {}", ztoc.blob_bytes,
                    source.size_bytes);
  }
  LayerBuilder builder;
  for (const ZtocEntry& entry : ztoc.entries) {
    FLOE_RETURN_IF_ERROR(AddEntry(entry, options, builder));
  }
  FLOE_ASSIGN_OR_RETURN(const SpanUnits spans, MakeUnits(ztoc));
  SourceBlob blob;
  blob.digest = source.digest;
  blob.size_bytes = source.size_bytes;
  blob.media_type = source.media_type;
  FLOE_ASSIGN_OR_RETURN(
      LayerIndexData data,
      builder.Finish(std::move(blob), {.units = spans.units, .groups = spans.groups}));
  std::string windows = KeepWindows(spans.windows, data);
  FLOE_RETURN_IF_ERROR(AddPrefetch(ztoc, options.prefetch, data));
  data.diff_id = source.diff_id;
  data.producer = fmt::format("floe {} soci", FLOE_VERSION);
  FLOE_ASSIGN_OR_RETURN(LayerIndex index, LayerIndex::Create(std::move(data)));
  return IndexedLayer{.index = std::move(index), .windows = std::move(windows)};
}

}  // namespace floe::image
