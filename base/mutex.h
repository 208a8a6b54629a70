#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

// Annotations for clang's -Wthread-safety; nothing for other compilers.
#if defined(__clang__)
#define FLOE_THREAD_ANNOTATION(x) __attribute__((x))
#else
#define FLOE_THREAD_ANNOTATION(x)
#endif
#define FLOE_CAPABILITY(x) FLOE_THREAD_ANNOTATION(capability(x))
#define FLOE_SCOPED_CAPABILITY FLOE_THREAD_ANNOTATION(scoped_lockable)
#define FLOE_GUARDED_BY(x) FLOE_THREAD_ANNOTATION(guarded_by(x))
#define FLOE_REQUIRES(...) FLOE_THREAD_ANNOTATION(requires_capability(__VA_ARGS__))
#define FLOE_EXCLUDES(...) FLOE_THREAD_ANNOTATION(locks_excluded(__VA_ARGS__))
#define FLOE_ACQUIRE(...) FLOE_THREAD_ANNOTATION(acquire_capability(__VA_ARGS__))
#define FLOE_RELEASE(...) FLOE_THREAD_ANNOTATION(release_capability(__VA_ARGS__))
#define FLOE_NO_THREAD_SAFETY_ANALYSIS FLOE_THREAD_ANNOTATION(no_thread_safety_analysis)

namespace floe {

class CondVar;

/// std::mutex with the attributes clang needs. The order of all locks is docs/locks.md.
class FLOE_CAPABILITY("mutex") Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void Lock() FLOE_ACQUIRE() { mutex_.lock(); }
  void Unlock() FLOE_RELEASE() { mutex_.unlock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

/// Holds a Mutex for a scope.
class FLOE_SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) FLOE_ACQUIRE(mutex) : mutex_(mutex) { mutex_.Lock(); }
  ~MutexLock() FLOE_RELEASE() { mutex_.Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

/// Condition variable for a Mutex. Waits may wake without reason: loop on the condition.
class CondVar {
 public:
  void Wait(Mutex& mutex) FLOE_REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    condition_.wait(lock);
    lock.release();
  }
  /// False when `when` has passed.
  bool WaitUntil(Mutex& mutex, std::chrono::steady_clock::time_point when) FLOE_REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    bool in_time = true;
    if (when == std::chrono::steady_clock::time_point::max()) {
      condition_.wait(lock);
    } else {
      in_time = condition_.wait_until(lock, when) == std::cv_status::no_timeout;
    }
    lock.release();
    return in_time;
  }
  void NotifyOne() { condition_.notify_one(); }
  void NotifyAll() { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

}  // namespace floe
