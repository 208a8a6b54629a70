#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "image/soci/ztoc.h"

/// What a ztoc's `checkpoints` hold: where the spans of a layer begin.
namespace floe::image {

struct ZtocCheckpoints {
  bool start_is_implied = false;
  std::vector<ZtocSpan> spans;  ///< Without digests; windows refer to the input.
};

/// Both: InvalidArgument when the bytes are not of the form, DataLoss when spans are not in order,
/// or not within a blob of `blob_bytes` and an archive of `archive_bytes`.
///
/// "zinfo", of a gzip layer. Little-endian: have (int32), bytes of a span (int64), then one record
/// for each checkpoint: in (int64), out (int64), bits (uint8), window (32768 bytes).
Result<ZtocCheckpoints> ParseGzipCheckpoints(std::string_view bytes, uint64_t blob_bytes,
                                             uint64_t archive_bytes);
/// A FlatBuffer "TarZinfo", of a layer that is not compressed: equal cuts, at most `max_spans`.
Result<ZtocCheckpoints> ParseTarCheckpoints(std::string_view bytes, uint64_t blob_bytes,
                                            uint64_t archive_bytes, uint64_t max_spans);

}  // namespace floe::image
