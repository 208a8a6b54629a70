#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/byte_range.h"
#include "base/result.h"
#include "fetcher/transport.h"

namespace floe::fetcher {

/// A Content-Range header (RFC 9110, 14.4) of a 206 answer.
struct ContentRange {
  ByteRange range;
  std::optional<uint64_t> total_bytes;  ///< Nothing for "*".

  /// Strict: DataLoss for other units, unsatisfied ranges, overflow and anything after the numbers.
  static Result<ContentRange> Parse(std::string_view text);
};

/// The Range header that asks for these bytes, which must not be none.
[[nodiscard]] std::string RangeHeader(ByteRange range);

/// What every answer to a range request must pass before a byte of it counts: status 206 and a
/// Content-Range that is exactly `wanted`, of a blob of `blob_bytes` where both sides say how large
/// it is; a 200 only when `wanted` is known to be everything (it starts at 0 and the announced
/// length is its own). DataLoss with its fault otherwise.
Result<void> CheckRangeAnswer(const HttpResponse& response, ByteRange wanted,
                              std::optional<uint64_t> blob_bytes = std::nullopt);

}  // namespace floe::fetcher
