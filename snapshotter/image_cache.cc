#include "snapshotter/image_cache.h"

#include <algorithm>
#include <utility>

namespace floe::snapshotter {
namespace {

// A tree in memory can be tens of megabytes; a node seldom pulls more images than this at once.
constexpr size_t kMaxImages = 8;
// By digest an image never changes; the time only bounds the memory of an idle node.
constexpr std::chrono::minutes kImageLifetime{5};
// A tag may move.
constexpr std::chrono::seconds kTagLifetime{30};
// Long enough for the layers of one pull, short enough for the operator who tries again.
constexpr std::chrono::seconds kOutageMemory{30};
constexpr std::chrono::seconds kRefusalMemory{5};

Clock::Duration MemoryOf(const Error& error) {
  const bool outage =
      error.code == ErrorCode::kUnavailable || error.code == ErrorCode::kDeadlineExceeded;
  return outage ? kOutageMemory : kRefusalMemory;
}

}  // namespace

std::string ImageCache::KeyOf(const std::string& image_ref, const std::optional<Digest>& manifest) {
  return image_ref + "\n" + (manifest ? manifest->hex() : std::string());
}

Result<std::shared_ptr<const prepare::IndexedImage>> ImageCache::Get(
    const std::string& image_ref, const std::optional<Digest>& manifest) {
  const std::string key = KeyOf(image_ref, manifest);
  const Deadline deadline = Deadline::After(load_timeout_, clock_);
  {
    MutexLock lock(mutex_);
    while (true) {
      Entry& entry = entries_[key];
      if (auto known = Lookup(entry)) {
        return std::move(*known);
      }
      if (!entry.loading) {
        entry.loading = true;
        break;
      }
      // The load that is under way has a deadline of its own, so this wait ends.
      loaded_.Wait(mutex_);
    }
  }
  auto loaded = source_.Load(image_ref, manifest, deadline);
  Result<Image> image =
      loaded
          ? Result<Image>(std::make_shared<const prepare::IndexedImage>(std::move(loaded).value()))
          : Result<Image>(std::move(loaded).error());
  MutexLock lock(mutex_);
  Keep(image_ref, manifest, image);
  loaded_.NotifyAll();
  return image;
}

std::shared_ptr<const prepare::IndexedImage> ImageCache::Peek(const std::string& image_ref,
                                                              const Digest& manifest) {
  MutexLock lock(mutex_);
  const auto entry = entries_.find(KeyOf(image_ref, manifest));
  return entry == entries_.end() ? nullptr : entry->second.image;
}

std::optional<Result<ImageCache::Image>> ImageCache::Lookup(Entry& entry) {
  const Clock::TimePoint now = clock_.Now();
  entry.last_use = ++uses_;
  if (entry.refusal && now < entry.refusal_expires) {
    return Result<Image>(*entry.refusal);
  }
  if (entry.image != nullptr && now < entry.image_expires) {
    return Result<Image>(entry.image);
  }
  return std::nullopt;
}

void ImageCache::Keep(const std::string& image_ref, const std::optional<Digest>& manifest,
                      const Result<Image>& loaded) {
  Entry& entry = entries_[KeyOf(image_ref, manifest)];
  entry.loading = false;
  if (!loaded) {
    entry.refusal = loaded.error();
    entry.refusal_expires = clock_.Now() + MemoryOf(loaded.error());
    return;
  }
  entry.refusal.reset();
  KeepImage(entry, *loaded, manifest ? Clock::Duration(kImageLifetime) : kTagLifetime);
  if (!manifest) {
    // From now on the image is known by its digest.
    KeepImage(entries_[KeyOf(image_ref, (*loaded)->image.manifest_digest)], *loaded,
              kImageLifetime);
  }
  DropOldest();
}

void ImageCache::KeepImage(Entry& entry, const Image& image, Clock::Duration lifetime) {
  entry.image = image;
  entry.image_expires = clock_.Now() + lifetime;
  entry.last_use = ++uses_;
}

void ImageCache::Refuse(const std::string& image_ref, const std::optional<Digest>& manifest,
                        Error why) {
  MutexLock lock(mutex_);
  Entry& entry = entries_[KeyOf(image_ref, manifest)];
  entry.refusal_expires = clock_.Now() + MemoryOf(why);
  entry.refusal = std::move(why);
}

void ImageCache::Purge() {
  MutexLock lock(mutex_);
  const Clock::TimePoint now = clock_.Now();
  std::erase_if(entries_, [&](const auto& item) {
    const Entry& entry = item.second;
    return !entry.loading && now >= entry.image_expires && now >= entry.refusal_expires;
  });
}

void ImageCache::DropOldest() {
  while (entries_.size() > kMaxImages) {
    auto oldest = entries_.end();
    for (auto it = entries_.begin(); it != entries_.end(); ++it) {
      const bool older = oldest == entries_.end() || it->second.last_use < oldest->second.last_use;
      if (!it->second.loading && older) {
        oldest = it;
      }
    }
    if (oldest == entries_.end()) {
      return;
    }
    entries_.erase(oldest);
  }
}

}  // namespace floe::snapshotter
