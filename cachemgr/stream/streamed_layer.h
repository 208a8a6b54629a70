#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/digest.h"
#include "cachemgr/cache/sources.h"

namespace floe::cachemgr {

/// The contract of CacheManager.StreamLayer (proto/floe/cachemgr/v1) without its messages.
struct StreamRequest {
  Digest digest = {};  ///< Of the layer's blob.
  uint64_t size_bytes = 0;
  std::string media_type = {};
  Digest diff_id = {};               ///< Zero: not known.
  std::vector<Source> sources = {};  ///< In order of preference; not empty.
  bool operator==(const StreamRequest&) const = default;
};

/// What the caller keeps of a streamed layer.
struct StreamedLayer {
  std::string tree;        ///< image::EncodeLayerIndex.
  std::string windows;     ///< The windows part; empty: there is none.
  std::string device_key;  ///< Of the blob in the cache; empty: no file of the layer has data.
};

/// How the caller of a stream follows and ends it. Both are called on the calling thread, about
/// every second also when nothing moves, and must be quick.
struct StreamControl {
  std::function<void(uint64_t bytes_done)> progress = [](uint64_t) {};
  std::function<bool()> cancelled = [] { return false; };
};

}  // namespace floe::cachemgr
