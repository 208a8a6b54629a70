#pragma once

#include <chrono>

namespace floe {

/// Where time comes from. Thread-safe. Tests pass tests/support/fake_clock.h.
class Clock {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  using Duration = std::chrono::steady_clock::duration;

  virtual ~Clock() = default;
  /// Monotonic; for deadlines and intervals.
  [[nodiscard]] virtual TimePoint Now() const = 0;
  /// Wall clock; for records that people and other machines read.
  [[nodiscard]] virtual std::chrono::system_clock::time_point WallNow() const = 0;

  /// The machine's clocks; lives for ever.
  static const Clock& Real();
};

/// A point in time after which the answer no longer matters. Passed down by value.
class Deadline {
 public:
  /// Never expires.
  Deadline() = default;
  static Deadline Infinite() { return {}; }
  static Deadline At(Clock::TimePoint when) { return Deadline(when); }
  static Deadline After(Clock::Duration duration, const Clock& clock = Clock::Real()) {
    return Deadline(clock.Now() + duration);
  }

  [[nodiscard]] bool infinite() const { return when_ == Clock::TimePoint::max(); }
  [[nodiscard]] Clock::TimePoint when() const { return when_; }
  [[nodiscard]] bool Expired(const Clock& clock = Clock::Real()) const {
    return !infinite() && clock.Now() >= when_;
  }
  /// Time left, never negative; Duration::max() when infinite.
  [[nodiscard]] Clock::Duration Remaining(const Clock& clock = Clock::Real()) const;
  /// The earlier of the two.
  [[nodiscard]] Deadline Min(Deadline other) const { return when_ < other.when_ ? *this : other; }

 private:
  explicit Deadline(Clock::TimePoint when) : when_(when) {}
  Clock::TimePoint when_ = Clock::TimePoint::max();
};

}  // namespace floe
