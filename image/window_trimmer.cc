#include "image/window_trimmer.h"

#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.h"
#include "image/inflate_stream.h"

namespace floe::image {
namespace {

using WindowBytes = std::array<std::byte, kInflateWindowBytes>;

// Level 9 saves 6 % of the windows and costs a tenth of the whole pass over a layer.
constexpr int kWindowLevel = 3;

// A window position has 15 bits. Decoding twice, with windows that differ from the true one by
// these codes, carries the position of each copied byte through to the output:
//   true ^ first output  = 1ppppppp  (the low 7 bits; never 0, so it also says "copied")
//   true ^ second output = pppppppp  (the high 8 bits)
constexpr WindowBytes MakeCodes(bool high) {
  WindowBytes codes{};
  for (size_t i = 0; i < codes.size(); ++i) {
    codes[i] = static_cast<std::byte>(high ? i >> 7U : 0x80U | (i & 0x7fU));
  }
  return codes;
}
constexpr WindowBytes kLowCodes = MakeCodes(false);
constexpr WindowBytes kHighCodes = MakeCodes(true);

// The first index from `i` on at which the two differ; the smaller size if they do not. Most bytes
// of a head are no copies of the window, so this passes over whole words.
size_t FirstDifference(std::span<const std::byte> a, std::span<const std::byte> b, size_t i) {
  const size_t size = std::min(a.size(), b.size());
  for (uint64_t x = 0, y = 0; i + sizeof(x) <= size; i += sizeof(x)) {
    std::memcpy(&x, a.data() + i, sizeof(x));
    std::memcpy(&y, b.data() + i, sizeof(y));
    if (x != y) {
      break;
    }
  }
  while (i < size && a[i] == b[i]) {
    ++i;
  }
  return i;
}

}  // namespace

struct WindowTrimmer::State {
  InflateStream stream;
  std::unique_ptr<ZSTD_CCtx, size_t (*)(ZSTD_CCtx*)> zstd{ZSTD_createCCtx(), ZSTD_freeCCtx};
  WindowBytes window;
  WindowBytes low_output;
  WindowBytes high_output;
  WindowBytes marks;  // All bits set: referred to.

  void SetWindow(const UnitHead& head, const WindowBytes& codes);
  bool DecodeHead(const UnitHead& head, WindowBytes& output);
  bool FindReferences(const UnitHead& head);
  Result<std::string> Compress(std::span<const std::byte> bytes);
};

WindowTrimmer::WindowTrimmer() : state_(std::make_unique<State>()) {}
WindowTrimmer::~WindowTrimmer() = default;

// Decodes as many bytes as head.decoded has, with `window` (its first head.window.size() bytes).
bool WindowTrimmer::State::DecodeHead(const UnitHead& head, WindowBytes& output) {
  const std::span<const std::byte> in_use(window.data(), head.window.size());
  const size_t shared = head.bits != 0 ? 1 : 0;
  if (head.compressed.size() < shared ||
      !stream.StartDeflate(head.bits, shared != 0 ? head.compressed.front() : std::byte{}, in_use)
           .has_value()) {
    return false;
  }
  stream.SetInput(head.compressed.subspan(shared));
  stream.SetOutput(std::span(output).first(head.decoded.size()));
  const int status = inflate(&stream.z(), Z_SYNC_FLUSH);
  return (status == Z_OK || status == Z_STREAM_END) && stream.z().avail_out == 0;
}

void WindowTrimmer::State::SetWindow(const UnitHead& head, const WindowBytes& codes) {
  for (size_t i = 0; i < head.window.size(); ++i) {
    window[i] = head.window[i] ^ codes[i];
  }
}

bool WindowTrimmer::State::FindReferences(const UnitHead& head) {
  marks.fill(std::byte{});
  SetWindow(head, kLowCodes);
  if (!DecodeHead(head, low_output)) {
    return false;
  }
  SetWindow(head, kHighCodes);
  if (!DecodeHead(head, high_output)) {
    return false;
  }
  for (size_t i = FirstDifference(head.decoded, low_output, 0); i < head.decoded.size();
       i = FirstDifference(head.decoded, low_output, i + 1)) {
    const auto low = std::to_integer<size_t>(low_output[i] ^ head.decoded[i]);
    const auto high = std::to_integer<size_t>(high_output[i] ^ head.decoded[i]);
    const size_t position = (high << 7U) | (low & 0x7fU);
    if ((low & 0x80U) == 0 || position >= head.window.size()) {
      return false;
    }
    marks[position] = std::byte{0xFF};
  }
  return true;
}

Result<std::string> WindowTrimmer::State::Compress(std::span<const std::byte> bytes) {
  std::string frame(ZSTD_compressBound(bytes.size()), '\0');
  const size_t size = zstd == nullptr ? 0
                                      : ZSTD_compressCCtx(zstd.get(), frame.data(), frame.size(),
                                                          bytes.data(), bytes.size(), kWindowLevel);
  if (size == 0 || ZSTD_isError(size) != 0) {
    return ResourceExhausted("no memory to compress an inflate window");
  }
  frame.resize(size);
  return frame;
}

Result<std::string> WindowTrimmer::Trim(const UnitHead& head) {
  FLOE_CHECK(head.window.size() <= kInflateWindowBytes &&
             head.decoded.size() <= kInflateWindowBytes);
  if (!state_->FindReferences(head)) {
    state_->marks.fill(std::byte{0xFF});
  }
  for (size_t i = 0; i < head.window.size(); ++i) {
    state_->window[i] = head.window[i] & state_->marks[i];
  }
  static constexpr WindowBytes kNoMarks{};
  const size_t first =
      FirstDifference(std::span(state_->marks).first(head.window.size()), kNoMarks, 0);
  if (first == head.window.size()) {
    return std::string();
  }
  return state_->Compress(std::span(state_->window).subspan(first, head.window.size() - first));
}

}  // namespace floe::image
