#pragma once

#include <set>
#include <string>
#include <utility>

#include "base/mutex.h"

namespace floe::snapshotter {

/// One lock for each key, for work that takes long (mounting, merging). Thread-safe. The
/// order in which a thread may take several keys is the owner's business.
class KeyedMutex {
 public:
  /// Holds a key until the end of its scope. The KeyedMutex must outlive it.
  class Guard {
   public:
    Guard(KeyedMutex& owner, std::string key) : owner_(owner), key_(std::move(key)) {
      owner_.Lock(key_);
    }
    ~Guard() { owner_.Unlock(key_); }
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;

   private:
    KeyedMutex& owner_;
    const std::string key_;
  };

 private:
  void Lock(const std::string& key) {
    MutexLock lock(mutex_);
    while (!held_.insert(key).second) {
      released_.Wait(mutex_);
    }
  }
  void Unlock(const std::string& key) {
    MutexLock lock(mutex_);
    held_.erase(key);
    released_.NotifyAll();
  }

  Mutex mutex_;
  CondVar released_;
  std::set<std::string> held_ FLOE_GUARDED_BY(mutex_);
};

}  // namespace floe::snapshotter
