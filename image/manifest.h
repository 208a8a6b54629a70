#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/result.h"

/// OCI image-spec 1.1 manifests, indexes and configs, and their docker schema 2 twins.
namespace floe::image {

struct Platform {
  std::string os, architecture, variant;
  std::vector<std::string> os_features;
  /// The platform this program runs on ("linux", "amd64", ...).
  static Platform Host();
  /// "linux/arm64/v8"; with features, as containerd writes them, "linux(+erofs)/arm64".
  static Result<Platform> Parse(std::string_view text);
  [[nodiscard]] std::string ToString() const;
};

struct Descriptor {
  std::string media_type;
  std::string artifact_type;
  Digest digest;
  uint64_t size_bytes = 0;
  std::map<std::string, std::string> annotations;
  std::optional<Platform> platform;
};

struct ImageManifest {
  std::string media_type;
  std::string artifact_type;
  Descriptor config;
  std::vector<Descriptor> layers;
  std::optional<Descriptor> subject;
  std::map<std::string, std::string> annotations;
};

struct ImageIndex {
  std::string media_type;
  std::vector<Descriptor> manifests;
  std::map<std::string, std::string> annotations;
};

struct ImageConfig {
  Platform platform;
  std::vector<Digest> diff_ids;
};

bool IsIndexMediaType(std::string_view media_type);
bool IsManifestMediaType(std::string_view media_type);
/// tar, tar+gzip, tar+zstd layers of OCI and docker (also the non-distributable ones).
bool IsTarLayerMediaType(std::string_view media_type);
/// Layers that are an EROFS image, as containerd 2.1 and later take them: any
/// "application/vnd.erofs.layer*" (vnd.erofs.layer.v1 is the one in use), with no suffix or with
/// "+zstd", which says that the whole image is wrapped; and any type that ends in ".erofs".
bool IsErofsLayerMediaType(std::string_view media_type);

/// InvalidArgument with one line that says what is wrong; sizes and counts are bounded. A document
/// that is a manifest and an index at once is neither. An absent media type stays empty.
Result<ImageManifest> ParseImageManifest(std::string_view json);
Result<ImageIndex> ParseImageIndex(std::string_view json);
Result<ImageConfig> ParseImageConfig(std::string_view json);

/// The manifest for `wanted`, as containerd chooses: exact os and architecture, best variant first.
/// An entry with os.features matches only where Floe has all of them ("erofs": its layers are EROFS
/// images). Of entries that match equally well the one with most of `wanted`'s features is taken,
/// then the one with fewest others: who asks for none gets what a containerd without EROFS gets.
/// Entries with an artifact type or unknown/unknown platform (attestations) never match; the first
/// entry without a platform is taken when no other matches, and its config decides. NotFound lists
/// what there is.
Result<Descriptor> ChoosePlatform(const ImageIndex& index, const Platform& wanted);

/// chain_ids[i] of image-spec identity: sha256(chain[i-1] + " " + diff[i]).
std::vector<Digest> ChainIds(const std::vector<Digest>& diff_ids);

}  // namespace floe::image
