#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"
#include "image/stargz/annotations.h"

namespace floe::image {

/// The name of the archive entry that holds the JSON of an eStargz TOC.
inline constexpr std::string_view kTocEntryName = "stargz.index.json";

/// The JSON of an eStargz TOC, of a layer or of a TOC image: gzip over an archive whose first entry
/// is kTocEntryName. DataLoss: it does not decode; InvalidArgument: it holds something else;
/// ResourceExhausted beyond kMaxTocBytes.
Result<std::string> DecodeGzipToc(std::span<const std::byte> compressed);

/// The JSON of a zstd:chunked TOC: zstd. DataLoss: it does not decode, or has more than
/// `decoded_length` bytes, which is at most kMaxTocBytes.
Result<std::string> DecodeZstdToc(std::span<const std::byte> compressed, uint64_t decoded_length);

/// Checks what is annotated of the compressed TOC, and of its JSON. DataLoss: another digest.
Result<void> CheckCompressedToc(const TocAnnotations& annotations,
                                std::span<const std::byte> compressed);
Result<void> CheckTocJson(const TocAnnotations& annotations, std::string_view json);

}  // namespace floe::image
