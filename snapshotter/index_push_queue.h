#pragma once

#include <deque>
#include <optional>
#include <string>
#include <thread>

#include "base/mutex.h"
#include "fetcher/registry_client.h"
#include "prepare/image_resolver.h"

namespace floe::snapshotter {

/// Pushes the indexes of streamed layers beside their images (`index.publish`), one image after the
/// other on a thread of its own ("push-index"), so that no container waits for it. What cannot be
/// pushed is logged and forgotten: the node has its own copy. Thread-safe.
class IndexPushQueue {
 public:
  /// `client` must outlive it. `store_dir`: where prepare/ keeps indexes.
  IndexPushQueue(fetcher::RegistryClient& client, std::string store_dir);
  /// Ends after the push under way; what is queued is forgotten.
  ~IndexPushQueue();
  IndexPushQueue(const IndexPushQueue&) = delete;
  IndexPushQueue& operator=(const IndexPushQueue&) = delete;

  void Add(prepare::IndexedImage image);
  /// Until everything that was added is done with; for tests.
  void WaitUntilIdle();

 private:
  void Run();
  /// Waits; nothing at the end.
  std::optional<prepare::IndexedImage> Next();
  void Push(const prepare::IndexedImage& image);

  fetcher::RegistryClient& client_;
  const std::string store_dir_;
  Mutex mutex_;
  CondVar changed_;
  std::deque<prepare::IndexedImage> queue_ FLOE_GUARDED_BY(mutex_);
  bool pushing_ FLOE_GUARDED_BY(mutex_) = false;
  bool stopping_ FLOE_GUARDED_BY(mutex_) = false;
  std::jthread thread_;
};

}  // namespace floe::snapshotter
