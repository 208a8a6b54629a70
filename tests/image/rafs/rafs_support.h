#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/result.h"
#include "image/layer_index.h"
#include "image/rafs/rafs_layer.h"

namespace floe::image::rafs {

/// shared/fixtures, which is not part of the source tree: tests skip what needs it where it is
/// absent.
std::filesystem::path FixtureRoot();

Bytes AsBytes(std::string_view text);

/// The bytes of a blob; an empty string when there is none.
using BlobReader = std::function<std::string(const Digest&)>;
/// Files of a directory that are named by the blob's hex digest.
BlobReader BlobsIn(const std::filesystem::path& directory);

/// Decodes one unit as the fill path does.
Result<std::string> DecodeUnit(const Unit& unit, std::string_view blob, std::string_view windows);

/// DataLoss unless the group's part of its unit's decoded bytes has its digest.
Result<void> GroupMatches(const Group& group, std::string_view decoded_unit);

/// The devices of all blobs as the fill path would make them: each unit decoded from its bytes of
/// the blob, each group's digest checked, its extents copied.
Result<std::vector<std::string>> FillDevices(const LayerIndex& index,
                                             std::span<const std::string> windows,
                                             const BlobReader& blobs);

/// A file's bytes, read from the devices through its segments.
std::string ReadFileOf(const LayerIndex& index, const Inode& file,
                       std::span<const std::string> devices);

/// The inode of a path without a leading slash; nullptr: there is none.
const Inode* FindPath(const LayerIndex& index, std::string_view path);

/// One JSON line an entry, as fixtures/corpus/tree.py prints it.
std::vector<std::string> DescribeTree(const LayerIndex& index,
                                      std::span<const std::string> devices);

/// What stands in only one of DescribeTree(index, devices) and corpus/expected-tree.jsonl: "-" and
/// the expected line, or "+" and the other.
std::vector<std::string> CompareWithCorpus(const LayerIndex& index,
                                           std::span<const std::string> devices);

/// BlobSource for each blob of a bootstrap whose blobs are files of `directory`, with chunk
/// information from there.
Result<std::vector<BlobSource>> SourcesIn(const std::filesystem::path& directory,
                                          const Bootstrap& bootstrap);

}  // namespace floe::image::rafs
