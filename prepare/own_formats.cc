#include "prepare/own_formats.h"

#include <optional>
#include <utility>

#include "base/mutex.h"
#include "prepare/erofs_layer.h"
#include "prepare/index_store.h"
#include "prepare/kept_layers.h"
#include "prepare/nydus_image.h"
#include "prepare/soci_image.h"
#include "prepare/stargz_layer.h"

namespace floe::prepare {

namespace {

bool IsZstd(const image::Descriptor& layer) { return layer.media_type.ends_with("zstd"); }

// Of all that the manifest says about a layer: the digest of its table of contents among it.
Digest AnnotationsDigest(const image::Descriptor& layer) {
  Sha256Hasher hasher;
  for (const auto& [name, value] : layer.annotations) {
    hasher.Update(fmt::format("{}={}\n", name, value));
  }
  return hasher.Finish();
}

}  // namespace

/// The SOCI index that the manifest names: read when the first layer wants it.
class OwnFormats::BoundSociIndex {
 public:
  explicit BoundSociIndex(const Digest& digest) : digest_(digest) {}

  [[nodiscard]] const Digest& digest() const { return digest_; }

  Result<image::SociIndex> Read(const LayerContext& context) {
    const MutexLock lock(mutex_);  // The other layers wait for the one that reads it.
    if (!index_) {
      index_ = FetchSociIndex(context.client, context.image.reference.repository, digest_,
                              std::nullopt, context.image, context.deadline);
    }
    return *index_;
  }

 private:
  const Digest digest_;
  Mutex mutex_;
  std::optional<Result<image::SociIndex>> index_ FLOE_GUARDED_BY(mutex_);
};

OwnFormats::OwnFormats(const ResolvedImage& image, bool allow_unverified)
    : image_(image), allow_unverified_(allow_unverified) {
  if (const auto digest = SociV2IndexOf(image)) {
    soci_ = std::make_shared<BoundSociIndex>(*digest);
  }
}

bool OwnFormats::is_indivisible() const { return IsNydusImage(image_.manifest); }

std::vector<OwnFormat> OwnFormats::Of(size_t position) const {
  if (is_indivisible()) {
    return {NydusFormat(position)};
  }
  std::vector<OwnFormat> formats;
  const image::Descriptor& layer = image_.manifest.layers[position];
  if (IsStargzLayer(layer)) {
    formats.push_back({IsZstd(layer) ? kZstdChunkedReader : kStargzReader,
                       IndexStore::BoundScope(AnnotationsDigest(layer)), ReadStargzLayer});
  }
  if (soci_ != nullptr) {
    formats.push_back({kSociReader, IndexStore::BoundScope(soci_->digest()),
                       [soci = soci_](const LayerContext& context) -> Result<ReadLayer> {
                         FLOE_ASSIGN_OR_RETURN(const image::SociIndex index, soci->Read(context));
                         return ReadSociLayer(context, index, image::IndexOrigin::kBound);
                       }});
  }
  if (IsErofsLayer(layer) && allow_unverified_) {
    formats.push_back({kErofsReader,
                       IndexStore::ForeignScope(image_.reference.repository, kErofsReader),
                       ReadErofsLayerUnverified});
  }
  return formats;
}

// The bootstrap speaks of all layers; the data layers hold nothing themselves.
OwnFormat OwnFormats::NydusFormat(size_t position) const {
  if (position + 1 == image_.manifest.layers.size()) {
    return {kNydusReader, std::string(kNydusScope), ReadNydusImage};
  }
  return {kNydusReader, std::string(kEmptyScope),
          [](const LayerContext& /*context*/) -> Result<ReadLayer> {
            return ReadLayer{.index = MakeEmptyIndex(), .windows = {}};
          }};
}

}  // namespace floe::prepare
