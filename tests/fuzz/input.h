#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

namespace floe::testing {

/// Cuts a fuzzer's input into values. At its end everything is zero and empty.
class FuzzInput {
 public:
  FuzzInput(const uint8_t* data, size_t size) : rest_(data, size) {}

  [[nodiscard]] bool empty() const { return rest_.empty(); }
  template <typename T>
  T Take() {
    T value{};
    const std::span<const uint8_t> bytes = Cut(sizeof(T));
    std::copy(bytes.begin(), bytes.end(), reinterpret_cast<uint8_t*>(&value));
    return value;
  }
  /// Less than `limit`, which is at most 65536; 0 for a limit of 0.
  size_t Below(size_t limit) {
    const size_t value = limit <= 256 ? Take<uint8_t>() : Take<uint16_t>();
    return limit == 0 ? 0 : value % limit;
  }
  std::string Bytes(size_t length) {
    const std::span<const uint8_t> bytes = Cut(length);
    return {bytes.begin(), bytes.end()};
  }
  std::string Rest() { return Bytes(rest_.size()); }

 private:
  std::span<const uint8_t> Cut(size_t length) {
    const auto bytes = rest_.first(std::min(length, rest_.size()));
    rest_ = rest_.subspan(bytes.size());
    return bytes;
  }

  std::span<const uint8_t> rest_;
};

/// One of the seeds, which the rest of the input edits, or the rest of the input itself: what is
/// right but for a few bytes gets further than any bytes.
inline std::string EditedText(FuzzInput& input, std::span<const std::string> seeds) {
  const size_t choice = input.Below(seeds.size() + 1);
  if (choice == seeds.size()) {
    return input.Rest();
  }
  std::string text = seeds[choice];
  while (!input.empty()) {
    const size_t at = input.Below(std::min<size_t>(text.size() + 1, 65536));
    const size_t erased = input.Below(16);
    text.replace(at, erased, input.Bytes(input.Below(32)));
  }
  return text;
}

}  // namespace floe::testing
