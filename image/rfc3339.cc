#include "image/rfc3339.h"

#include <chrono>

#include "base/quote.h"

namespace floe::image {
namespace {

constexpr size_t kMaxTimeBytes = 64;  // Far more than nanoseconds and an offset take.
constexpr int kNanosecondDigits = 9;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

/// Takes a time apart from its front; what is not there makes it fail for good.
class Cutter {
 public:
  explicit Cutter(std::string_view text) : rest_(text) {}

  /// Exactly `digits` digits.
  int Number(size_t digits) {
    int value = 0;
    for (size_t i = 0; i < digits; ++i) {
      const char c = Next();
      ok_ = ok_ && IsDigit(c);
      value = value * 10 + (c - '0');
    }
    return ok_ ? value : 0;
  }
  void Expect(char wanted) { ok_ = Next() == wanted && ok_; }
  char Next() {
    const char c = Peek();
    ok_ = ok_ && !rest_.empty();
    rest_.remove_prefix(rest_.empty() ? 0 : 1);
    return c;
  }
  [[nodiscard]] char Peek() const { return rest_.empty() ? '\0' : rest_.front(); }
  /// Everything was as wanted, and nothing is left.
  [[nodiscard]] bool Complete() const { return ok_ && rest_.empty(); }
  void Fail() { ok_ = false; }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

/// ".5" is 500,000,000; no fraction is 0.
uint32_t CutFraction(Cutter& cutter) {
  if (cutter.Peek() != '.') {
    return 0;
  }
  cutter.Next();
  uint32_t nanoseconds = 0;
  int digits = 0;
  for (; IsDigit(cutter.Peek()); ++digits) {
    const auto digit = static_cast<uint32_t>(cutter.Next() - '0');
    nanoseconds = digits < kNanosecondDigits ? nanoseconds * 10 + digit : nanoseconds;
  }
  if (digits == 0) {
    cutter.Fail();
  }
  for (; digits < kNanosecondDigits; ++digits) {
    nanoseconds *= 10;
  }
  return nanoseconds;
}

/// Hours and minutes: "23:59".
std::chrono::minutes CutHoursAndMinutes(Cutter& cutter) {
  const int hours = cutter.Number(2);
  cutter.Expect(':');
  const int minutes = cutter.Number(2);
  if (hours > 23 || minutes > 59) {
    cutter.Fail();
  }
  return std::chrono::hours(hours) + std::chrono::minutes(minutes);
}

std::chrono::sys_days CutDate(Cutter& cutter) {
  const std::chrono::year year(cutter.Number(4));
  cutter.Expect('-');
  const std::chrono::month month(static_cast<unsigned>(cutter.Number(2)));
  cutter.Expect('-');
  const std::chrono::day day(static_cast<unsigned>(cutter.Number(2)));
  const std::chrono::year_month_day date(year, month, day);
  if (!date.ok()) {
    cutter.Fail();
    return {};
  }
  return date;
}

/// How far local time is ahead of UTC.
std::chrono::minutes CutOffset(Cutter& cutter) {
  const char sign = cutter.Next();
  if (sign == 'Z') {
    return {};
  }
  if (sign != '+' && sign != '-') {
    cutter.Fail();
  }
  const std::chrono::minutes offset = CutHoursAndMinutes(cutter);
  return sign == '-' ? -offset : offset;
}

}  // namespace

Result<PaxTime> ParseRfc3339(std::string_view text) {
  Cutter cutter(text.substr(0, kMaxTimeBytes));
  std::chrono::sys_seconds time = CutDate(cutter);
  cutter.Expect('T');
  time += CutHoursAndMinutes(cutter);
  cutter.Expect(':');
  const int seconds = cutter.Number(2);
  time += std::chrono::seconds(seconds);
  const uint32_t nanoseconds = CutFraction(cutter);
  time -= CutOffset(cutter);
  if (!cutter.Complete() || seconds > 59 || text.size() > kMaxTimeBytes) {
    return InvalidArgument("not a time: {}", Quote(text.substr(0, kMaxTimeBytes)));
  }
  return PaxTime{.seconds = time.time_since_epoch().count(), .nanoseconds = nanoseconds};
}

}  // namespace floe::image
