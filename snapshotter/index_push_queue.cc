#include "snapshotter/index_push_queue.h"

#include <chrono>
#include <utility>

#include "base/log.h"
#include "base/thread_name.h"
#include "prepare/index_publisher.h"

namespace floe::snapshotter {
namespace {

// Trees and windows of a large image are some tens of megabytes.
constexpr std::chrono::minutes kPushTimeout{2};
// An image in memory can be tens of megabytes; who pulls more than these at once loses nothing but
// the publishing of some.
constexpr size_t kMaxQueued = 8;

}  // namespace

IndexPushQueue::IndexPushQueue(fetcher::RegistryClient& client, std::string store_dir)
    : client_(client), store_dir_(std::move(store_dir)), thread_([this] {
        SetThreadName("push-index");
        Run();
      }) {}

IndexPushQueue::~IndexPushQueue() {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
}

void IndexPushQueue::Add(prepare::IndexedImage image) {
  {
    const MutexLock lock(mutex_);
    if (queue_.size() >= kMaxQueued) {
      LogWarning("index not published ref={} reason=\"{} others wait\"",
                 image.image.reference.ToString(), queue_.size());
      return;
    }
    queue_.push_back(std::move(image));
  }
  changed_.NotifyAll();
}

void IndexPushQueue::WaitUntilIdle() {
  const MutexLock lock(mutex_);
  while (pushing_ || !queue_.empty()) {
    changed_.Wait(mutex_);
  }
}

std::optional<prepare::IndexedImage> IndexPushQueue::Next() {
  const MutexLock lock(mutex_);
  pushing_ = false;
  changed_.NotifyAll();
  while (queue_.empty() && !stopping_) {
    changed_.Wait(mutex_);
  }
  if (stopping_) {
    return std::nullopt;
  }
  pushing_ = true;
  prepare::IndexedImage image = std::move(queue_.front());
  queue_.pop_front();
  return image;
}

void IndexPushQueue::Run() {
  while (const auto image = Next()) {
    Push(*image);
  }
}

void IndexPushQueue::Push(const prepare::IndexedImage& image) {
  const std::string ref = image.image.reference.ToString();
  auto published =
      prepare::PublishStreamedLayers(client_, image, store_dir_, Deadline::After(kPushTimeout));
  if (published) {
    LogInfo("index published ref={} index={} layers={}", ref, published->manifest.ToString(),
            published->layers.size());
  } else {
    LogWarning("index not published ref={} reason=\"{}\"", ref, published.error().message);
  }
}

}  // namespace floe::snapshotter
