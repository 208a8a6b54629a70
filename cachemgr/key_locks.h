#pragma once

#include <set>
#include <string>

#include "base/mutex.h"

namespace floe::cachemgr {

/// One holder for each name at a time, for control-plane work that waits for disks and mounts: no
/// mutex is held meanwhile. Thread-safe.
class KeyLocks {
 public:
  class Holder {
   public:
    Holder(KeyLocks& locks, std::string key) : locks_(locks), key_(std::move(key)) {
      locks_.Acquire(key_);
    }
    ~Holder() { locks_.Release(key_); }
    Holder(const Holder&) = delete;
    Holder& operator=(const Holder&) = delete;

   private:
    KeyLocks& locks_;
    const std::string key_;
  };

 private:
  void Acquire(const std::string& key) {
    const MutexLock lock(mutex_);
    while (!held_.insert(key).second) {
      released_.Wait(mutex_);
    }
  }
  void Release(const std::string& key) {
    {
      const MutexLock lock(mutex_);
      held_.erase(key);
    }
    released_.NotifyAll();
  }

  Mutex mutex_;
  CondVar released_;
  std::set<std::string> held_ FLOE_GUARDED_BY(mutex_);
};

}  // namespace floe::cachemgr
