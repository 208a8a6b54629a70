#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <utility>

#include "base/clock.h"
#include "base/digest.h"
#include "fetcher/http/url.h"
#include "fetcher/reference.h"

namespace floe::fetcher {

/// Where a registry's redirects for blobs led to, for a while: the next range of the same blob
/// needs no detour. The URLs are signed, so they hold secrets. Only on the loop's thread.
class RedirectCache {
 public:
  /// Signatures commonly live for ten minutes and more; a target that ends earlier is refused and
  /// resolved anew.
  static constexpr std::chrono::minutes kLifetime{5};
  static constexpr size_t kMaxEntries = 4096;

  explicit RedirectCache(const Clock& clock = Clock::Real()) : clock_(clock) {}

  [[nodiscard]] std::optional<Url> Find(const Repository& repository, const Digest& digest) const {
    auto found = targets_.find({repository, digest});
    bool usable = found != targets_.end() && clock_.Now() < found->second.expires;
    return usable ? std::optional(found->second.url) : std::nullopt;
  }

  void Put(const Repository& repository, const Digest& digest, Url url) {
    Clock::TimePoint now = clock_.Now();
    if (targets_.size() >= kMaxEntries) {
      std::erase_if(targets_, [now](const auto& entry) { return entry.second.expires <= now; });
    }
    if (targets_.size() < kMaxEntries || targets_.contains({repository, digest})) {
      targets_[{repository, digest}] = {std::move(url), now + kLifetime};
    }
  }

  void Forget(const Repository& repository, const Digest& digest) {
    targets_.erase({repository, digest});
  }

 private:
  struct Target {
    Url url;
    Clock::TimePoint expires;
  };
  const Clock& clock_;
  std::map<std::pair<Repository, Digest>, Target> targets_;
};

}  // namespace floe::fetcher
