#include "image/stargz/toc_container.h"

#include <zstd.h>

#include <array>
#include <memory>
#include <optional>

#include "base/quote.h"
#include "image/inflate_stream.h"
#include "image/tar_reader.h"

namespace floe::image {
namespace {

constexpr size_t kPieceBytes = 256U << 10U;
// Headers and end of the archive around the JSON, with plenty to spare.
constexpr uint64_t kMaxArchiveBytes = kMaxTocBytes + (64U << 10U);

std::span<const std::byte> BytesOf(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

Error TooLarge() {
  return ResourceExhausted("its table of contents has more than {} bytes", kMaxTocBytes);
}

// All members; what they decode to grows by pieces, so that a lie costs no memory.
Result<std::string> Inflate(std::span<const std::byte> compressed) {
  InflateStream stream;
  FLOE_RETURN_IF_ERROR(stream.StartGzip());
  stream.SetInput(compressed);
  std::string decoded;
  for (;;) {
    const size_t before = decoded.size();
    decoded.resize(before + kPieceBytes);
    stream.SetOutput(std::as_writable_bytes(std::span(decoded).subspan(before)));
    const int status = inflate(&stream.z(), Z_NO_FLUSH);
    const size_t left = stream.z().avail_in;
    decoded.resize(decoded.size() - stream.z().avail_out);
    if (decoded.size() > kMaxArchiveBytes) {
      return TooLarge();
    }
    if (status == Z_STREAM_END && left == 0) {
      return decoded;
    }
    if (status == Z_STREAM_END) {
      FLOE_RETURN_IF_ERROR(stream.StartGzip());
      stream.SetInput(compressed.last(left));
    } else if (status != Z_OK) {
      return DataLoss("its table of contents does not decode: {}",
                      status == Z_DATA_ERROR ? stream.message() : "it ends early");
    }
  }
}

// Keeps where the first entry's content is.
class FirstEntry final : public TarEntrySink {
 public:
  Result<void> OnEntry(const TarEntry& entry) override {
    if (content) {
      return Ok();
    }
    if (entry.type != '0' || entry.name != kTocEntryName || entry.data.size() != 1 ||
        entry.data.front().length != entry.size_bytes) {
      return InvalidArgument("its archive begins with {}", Quote(entry.name));
    }
    content = entry.data.front();
    return Ok();
  }

  std::optional<TarFragment> content;
};

}  // namespace

Result<std::string> DecodeGzipToc(std::span<const std::byte> compressed) {
  if (compressed.size() > kMaxTocBytes) {
    return TooLarge();
  }
  FLOE_ASSIGN_OR_RETURN(std::string archive, Inflate(compressed));
  FirstEntry entry;
  TarReader reader(entry);
  FLOE_RETURN_IF_ERROR(reader.Feed(BytesOf(archive)));
  FLOE_RETURN_IF_ERROR(reader.Finish());
  if (!entry.content) {
    return InvalidArgument("the archive of its table of contents is empty");
  }
  if (entry.content->length > kMaxTocBytes) {
    return TooLarge();
  }
  archive.resize(entry.content->archive_offset + entry.content->length);
  archive.erase(0, entry.content->archive_offset);
  return archive;
}

Result<std::string> DecodeZstdToc(std::span<const std::byte> compressed, uint64_t decoded_length) {
  const std::unique_ptr<ZSTD_DCtx, size_t (*)(ZSTD_DCtx*)> zstd(ZSTD_createDCtx(), ZSTD_freeDCtx);
  if (zstd == nullptr) {
    return ResourceExhausted("no memory for a zstd context");
  }
  if (decoded_length > kMaxTocBytes) {
    return TooLarge();
  }
  std::string decoded;
  ZSTD_inBuffer in = {compressed.data(), compressed.size(), 0};
  size_t status = 1;
  while (in.pos < in.size || status != 0) {
    const size_t before = decoded.size();
    const size_t input_before = in.pos;
    decoded.resize(before + kPieceBytes);
    ZSTD_outBuffer out = {decoded.data() + before, kPieceBytes, 0};
    status = ZSTD_decompressStream(zstd.get(), &out, &in);
    decoded.resize(before + out.pos);
    if (ZSTD_isError(status) != 0) {
      return DataLoss("its table of contents does not decode: {}", ZSTD_getErrorName(status));
    }
    if (decoded.size() > decoded_length) {
      return DataLoss("its table of contents has more than the {} bytes that are annotated",
                      decoded_length);
    }
    if (status != 0 && out.pos == 0 && in.pos == input_before) {
      return DataLoss("its table of contents does not decode: it ends early");
    }
  }
  return decoded;
}

Result<void> CheckCompressedToc(const TocAnnotations& annotations,
                                std::span<const std::byte> compressed) {
  const auto& expected = annotations.compressed_digest;
  if (expected && Digest::Of(compressed) != *expected) {
    return DataLoss("its compressed table of contents is not {}, which the manifest says",
                    expected->ToString());
  }
  return Ok();
}

Result<void> CheckTocJson(const TocAnnotations& annotations, std::string_view json) {
  const auto& expected = annotations.toc_digest;
  if (expected && Digest::Of(json) != *expected) {
    return DataLoss("its table of contents is not {}, which the manifest says",
                    expected->ToString());
  }
  return Ok();
}

}  // namespace floe::image
