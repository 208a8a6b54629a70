#include "cachemgr/cache/prefetch_list.h"

namespace floe::cachemgr {

void PrefetchList::Push(PrefetchWalk walk) {
  const MutexLock lock(mutex_);
  if (!closed_) {
    walks_.push_back(std::move(walk));
  }
}

std::optional<PrefetchWalk> PrefetchList::Pop() {
  const MutexLock lock(mutex_);
  if (walks_.empty()) {
    return std::nullopt;
  }
  PrefetchWalk next = std::move(walks_.front());
  walks_.pop_front();
  return next;
}

bool PrefetchList::empty() const {
  const MutexLock lock(mutex_);
  return walks_.empty();
}

bool PrefetchList::Drop(const Blob& blob) {
  const MutexLock lock(mutex_);
  return std::erase_if(walks_,
                       [&](const PrefetchWalk& walk) { return walk.blob().get() == &blob; }) > 0;
}

void PrefetchList::Close() {
  const MutexLock lock(mutex_);
  closed_ = true;
  walks_.clear();
}

}  // namespace floe::cachemgr
