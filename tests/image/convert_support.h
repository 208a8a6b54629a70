#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/result.h"
#include "image/convert/layer_converter.h"

namespace floe::image {

/// A converted layer with its blob.
struct Converted {
  ConvertedLayer layer;
  std::string blob;
};

/// Feeds `blob` in pieces of `step` bytes; size and digest are what an honest manifest says.
Result<Converted> Convert(std::string_view blob, const SeekableOptions& options,
                          size_t step = 1U << 16U);

/// What libzstd decodes the whole blob to.
std::string UnzstdAll(std::string_view blob);
/// One zstd frame.
std::string ZstdFrame(std::string_view data);

/// The uncompressed table of contents, found through the footer alone (external: from toc_blob).
std::string TocOf(const Converted& converted, SeekableFormat format);

/// A file, or a piece of one, as the table of contents says.
struct TocPiece {
  std::string name;
  uint64_t offset = 0, length = 0;
  std::string digest;
};
std::vector<TocPiece> Pieces(const nlohmann::json& toc);
/// The bytes of the piece, decoded from its offset only.
std::string DecodePiece(std::string_view blob, const TocPiece& piece, SeekableFormat format);

}  // namespace floe::image
