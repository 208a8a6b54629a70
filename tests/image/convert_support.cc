#include "tests/image/convert_support.h"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <span>

#include "tests/image/gzip_support.h"
#include "tests/image/layer_support.h"

namespace floe::image {
namespace {

uint64_t LittleEndian(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = bytes.size(); i-- > 0;) {
    value = (value << 8U) | static_cast<uint8_t>(bytes[i]);
  }
  return value;
}

// The first bytes of what the gzip members decode to.
std::string GunzipFront(std::string_view blob, uint64_t bytes) {
  std::string out(bytes, '\0');
  z_stream z{};
  inflateInit2(&z, 15 + 16);
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(blob.data()));
  z.avail_in = static_cast<uInt>(blob.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  inflate(&z, Z_NO_FLUSH);
  out.resize(bytes - z.avail_out);
  inflateEnd(&z);
  return out;
}

std::string FirstFileOfTar(std::string_view tar) {
  const uint64_t size = std::stoull(std::string(tar.substr(124, 11)), nullptr, 8);
  return std::string(tar.substr(512, size));
}

}  // namespace

Result<Converted> Convert(std::string_view blob, const SeekableOptions& options, size_t step) {
  Converted converted;
  ConvertOptions all;
  all.seekable = options;
  FLOE_ASSIGN_OR_RETURN(
      auto converter,
      LayerConverter::Create(SourceOf(blob), all, [&](std::string_view bytes) -> Result<void> {
        converted.blob += bytes;
        return Ok();
      }));
  for (size_t at = 0; at < blob.size(); at += step) {
    FLOE_RETURN_IF_ERROR(converter->Feed(std::as_bytes(std::span(blob.substr(at, step)))));
  }
  FLOE_ASSIGN_OR_RETURN(converted.layer, converter->Finish());
  return converted;
}

std::string UnzstdAll(std::string_view blob) {
  ZSTD_DCtx* context = ZSTD_createDCtx();
  std::string all;
  std::string buffer(1U << 20U, '\0');
  ZSTD_inBuffer in{.src = blob.data(), .size = blob.size(), .pos = 0};
  while (in.pos < in.size) {
    ZSTD_outBuffer out{.dst = buffer.data(), .size = buffer.size(), .pos = 0};
    const size_t status = ZSTD_decompressStream(context, &out, &in);
    if (ZSTD_isError(status) != 0) {
      all += ZSTD_getErrorName(status);
      break;
    }
    all.append(buffer, 0, out.pos);
  }
  ZSTD_freeDCtx(context);
  return all;
}

std::string ZstdFrame(std::string_view data) {
  std::string frame(ZSTD_compressBound(data.size()), '\0');
  frame.resize(ZSTD_compress(frame.data(), frame.size(), data.data(), data.size(), 3));
  return frame;
}

std::string TocOf(const Converted& converted, SeekableFormat format) {
  const std::string_view blob = converted.blob;
  switch (format) {
    case SeekableFormat::kZstdChunked: {
      const std::string_view footer = blob.substr(blob.size() - 40);
      return UnzstdAll(
          blob.substr(LittleEndian(footer.substr(0, 8)), LittleEndian(footer.substr(8, 8))));
    }
    case SeekableFormat::kEStargz: {
      const std::string_view footer = blob.substr(blob.size() - 51);
      const uint64_t offset = std::stoull(std::string(footer.substr(16, 16)), nullptr, 16);
      return FirstFileOfTar(GunzipAll(blob.substr(offset)));
    }
    case SeekableFormat::kEStargzExternalToc:
      return FirstFileOfTar(GunzipAll(converted.layer.blob.toc_blob));
  }
  return {};
}

std::vector<TocPiece> Pieces(const nlohmann::json& toc) {
  std::vector<TocPiece> pieces;
  uint64_t file_bytes = 0;
  std::string name;
  for (const auto& row : toc["entries"]) {
    if (row["type"] != "chunk") {
      file_bytes = row.value("size", uint64_t{0});
      name = row["name"];
    }
    if (row.contains("offset")) {
      const uint64_t rest = file_bytes - row.value("chunkOffset", uint64_t{0});
      pieces.push_back({name, row["offset"], row.value("chunkSize", rest), row["chunkDigest"]});
    }
  }
  return pieces;
}

std::string DecodePiece(std::string_view blob, const TocPiece& piece, SeekableFormat format) {
  const std::string_view rest = blob.substr(piece.offset);
  if (format != SeekableFormat::kZstdChunked) {
    return GunzipFront(rest, piece.length);
  }
  const size_t frame = ZSTD_findFrameCompressedSize(rest.data(), rest.size());
  return UnzstdAll(rest.substr(0, frame));
}

}  // namespace floe::image
