#include "image/stargz/toc_position.h"

namespace floe::image {

Result<void> CheckTocPosition(const TocPosition& position, uint64_t type, uint64_t end) {
  const ByteRange& toc = position.toc;
  if (type != 1) {
    return Unimplemented("its table of contents is of type {}, not 1", type);
  }
  if (toc.offset <= kSkippableHeaderBytes || toc.empty() || !toc.IsValid() || toc.end() > end) {
    return DataLoss("its table of contents is said to be {}+{} of {} bytes", toc.offset, toc.length,
                    end);
  }
  if (toc.length > kMaxTocBytes || position.decoded_length > kMaxTocBytes) {
    return ResourceExhausted("its table of contents takes {} bytes, {} decoded; at most {}",
                             toc.length, position.decoded_length, kMaxTocBytes);
  }
  return Ok();
}

}  // namespace floe::image
