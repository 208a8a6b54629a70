#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "base/result.h"

namespace floe::image {

/// One element of "entries" as it stands in the JSON of a TOC; what is absent or null is empty or
/// 0. Fields by their JSON keys; those that Floe has no use for (userName, accesstime, ...) are
/// skipped.
struct TocRecord {
  std::string name, type, modtime, link_name, digest, chunk_digest, chunk_type;
  int64_t size = 0, mode = 0, uid = 0, gid = 0, dev_major = 0, dev_minor = 0;
  int64_t offset = 0, inner_offset = 0, end_offset = 0, chunk_offset = 0, chunk_size = 0;
  std::map<std::string, std::string> xattrs;  ///< Values are base64.
};

using TocRecordSink = std::function<Result<void>(const TocRecord&)>;

/// Reads {"version":1,"entries":[...]} as a stream: the document is never held as a tree. Depth,
/// size (kMaxTocBytes) and the number of entries are bounded. InvalidArgument: it is not such JSON,
/// or a known key has a value of the wrong type; Unimplemented: another version. Errors of the sink
/// are prefixed with the number of the entry, and end the reading.
Result<void> ReadTocJson(std::string_view json, const TocRecordSink& sink);

}  // namespace floe::image
