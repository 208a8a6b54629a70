#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/result.h"
#include "image/layer_indexer.h"
#include "tests/erofs/tree_dump.h"

namespace floe::erofs::testing {

inline constexpr const char* kErofsLayerType = "application/vnd.erofs.layer.v1";

/// False: no mkfs.erofs (erofs-utils) on this machine.
bool HaveMkfs();
/// The image that mkfs.erofs makes of a directory.
Result<std::string> MakeImage(const std::filesystem::path& directory,
                              const std::string& options = "");

/// A tree with all kinds of entries. What only root may make is left out for others, xattrs where
/// the file system has none (both with a printed line).
void MakeSampleTree(const std::filesystem::path& root);
void WriteText(const std::filesystem::path& path, std::string_view text);
/// False, with a printed line, where the file system has no such xattrs.
bool SetXattr(const std::filesystem::path& path, const std::string& name, std::string_view value);

/// What an honest manifest says about an image, or about a wrapped one.
image::LayerSource NativeSourceOf(std::string_view blob, std::string_view media_type = {});
/// Feeds `blob` to a NativeLayerIndexer in pieces of `step` bytes.
Result<image::IndexedLayer> IndexNative(std::string_view blob, const image::LayerSource& source,
                                        image::IndexerOptions options = {},
                                        size_t step = 1U << 16U);
/// What a mount of the layer alone would show: its device is filled from the blob, its bootstrap
/// written, validated and read back.
Result<Tree> TreeOfLayer(const image::IndexedLayer& layer, std::string_view blob,
                         WhiteoutForm form = WhiteoutForm::kApply);

}  // namespace floe::erofs::testing
