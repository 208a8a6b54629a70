#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/digest.h"
#include "base/mutex.h"
#include "base/result.h"
#include "snapshotter/image_source.h"

namespace floe::snapshotter {

/// Keeps the last images in memory, and for a short time why an image could not be had, so that the
/// layers of one pull ask once. Thread-safe. Two callers that want one image wait for one load.
class ImageCache {
 public:
  /// `load_timeout`: of one load, and so the longest wait of a caller. Both references must outlive
  /// the cache.
  ImageCache(ImageSource& source, const Clock& clock, Clock::Duration load_timeout)
      : source_(source), clock_(clock), load_timeout_(load_timeout) {}

  /// The image, or the error of this load or of a recent one.
  Result<std::shared_ptr<const prepare::IndexedImage>> Get(const std::string& image_ref,
                                                           const std::optional<Digest>& manifest);
  /// The image if it is in memory; else null.
  std::shared_ptr<const prepare::IndexedImage> Peek(const std::string& image_ref,
                                                    const Digest& manifest);
  /// For a short time Get answers with this error: the image cannot be lazy.
  void Refuse(const std::string& image_ref, const std::optional<Digest>& manifest, Error why);
  /// Forgets what has expired.
  void Purge();

 private:
  using Image = std::shared_ptr<const prepare::IndexedImage>;
  struct Entry {
    bool loading = false;
    Image image;                   ///< Null: none.
    std::optional<Error> refusal;  ///< Wins over the image.
    Clock::TimePoint image_expires, refusal_expires;
    uint64_t last_use = 0;
  };

  static std::string KeyOf(const std::string& image_ref, const std::optional<Digest>& manifest);
  std::optional<Result<Image>> Lookup(Entry& entry) FLOE_REQUIRES(mutex_);
  void Keep(const std::string& image_ref, const std::optional<Digest>& manifest,
            const Result<Image>& loaded) FLOE_REQUIRES(mutex_);
  void KeepImage(Entry& entry, const Image& image, Clock::Duration lifetime) FLOE_REQUIRES(mutex_);
  void DropOldest() FLOE_REQUIRES(mutex_);

  ImageSource& source_;
  const Clock& clock_;
  const Clock::Duration load_timeout_;

  Mutex mutex_;
  CondVar loaded_;
  std::map<std::string, Entry> entries_ FLOE_GUARDED_BY(mutex_);
  uint64_t uses_ FLOE_GUARDED_BY(mutex_) = 0;
};

}  // namespace floe::snapshotter
