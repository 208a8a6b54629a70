#include "image/window_trimmer.h"

#include <zstd.h>

#include <algorithm>
#include <array>
#include <bitset>

#include "base/check.h"
#include "image/inflate_stream.h"

namespace floe::image {
namespace {

using WindowBytes = std::array<std::byte, kInflateWindowBytes>;
using Marks = std::bitset<kInflateWindowBytes>;

// The measured knee: level 19 saves 3 % and costs about five times as much.
constexpr int kWindowLevel = 9;

// A window position has 15 bits. Decoding twice, with windows that differ from the true one by
// these codes, carries the position of each copied byte through to the output:
//   true ^ first output  = 1ppppppp  (the low 7 bits; never 0, so it also says "copied")
//   true ^ second output = pppppppp  (the high 8 bits)
std::byte LowCode(size_t position) { return static_cast<std::byte>(0x80U | (position & 0x7fU)); }
std::byte HighCode(size_t position) { return static_cast<std::byte>(position >> 7U); }

}  // namespace

struct WindowTrimmer::State {
  InflateStream stream;
  std::unique_ptr<ZSTD_CCtx, size_t (*)(ZSTD_CCtx*)> zstd{ZSTD_createCCtx(), ZSTD_freeCCtx};
  WindowBytes window;
  WindowBytes low_output;
  WindowBytes high_output;

  bool DecodeHead(const UnitHead& head, WindowBytes& output);
  bool FindReferences(const UnitHead& head, Marks& marks);
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

bool WindowTrimmer::State::FindReferences(const UnitHead& head, Marks& marks) {
  for (size_t i = 0; i < head.window.size(); ++i) {
    window[i] = head.window[i] ^ LowCode(i);
  }
  if (!DecodeHead(head, low_output)) {
    return false;
  }
  for (size_t i = 0; i < head.window.size(); ++i) {
    window[i] = head.window[i] ^ HighCode(i);
  }
  if (!DecodeHead(head, high_output)) {
    return false;
  }
  for (size_t i = 0; i < head.decoded.size(); ++i) {
    const auto low = std::to_integer<size_t>(low_output[i] ^ head.decoded[i]);
    if (low == 0) {
      continue;
    }
    const auto high = std::to_integer<size_t>(high_output[i] ^ head.decoded[i]);
    const size_t position = (high << 7U) | (low & 0x7fU);
    if ((low & 0x80U) == 0 || position >= head.window.size()) {
      return false;
    }
    marks.set(position);
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
  Marks marks;
  if (!state_->FindReferences(head, marks)) {
    marks.set();
  }
  size_t first = head.window.size();
  for (size_t i = head.window.size(); i-- > 0;) {
    if (marks.test(i)) {
      first = i;
      state_->window[i] = head.window[i];
    } else {
      state_->window[i] = std::byte{};
    }
  }
  if (first == head.window.size()) {
    return std::string();
  }
  return state_->Compress(std::span(state_->window).subspan(first, head.window.size() - first));
}

}  // namespace floe::image
