#include "prepare/own_formats.h"

#include <optional>
#include <utility>

#include "base/mutex.h"
#include "prepare/index_store.h"
#include "prepare/kept_layers.h"
#include "prepare/soci_image.h"

namespace floe::prepare {

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

bool OwnFormats::is_indivisible() const { return false; }

std::vector<OwnFormat> OwnFormats::Of(size_t position) const {
  std::vector<OwnFormat> formats;
  (void)position;
  (void)allow_unverified_;
  (void)image_;
  if (soci_ != nullptr) {
    formats.push_back({kSociReader, IndexStore::BoundScope(soci_->digest()),
                       [soci = soci_](const LayerContext& context) -> Result<ReadLayer> {
                         FLOE_ASSIGN_OR_RETURN(const image::SociIndex index, soci->Read(context));
                         return ReadSociLayer(context, index, image::IndexOrigin::kBound);
                       }});
  }
  return formats;
}

}  // namespace floe::prepare
