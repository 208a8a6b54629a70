#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "soci/ztoc_generated.h"

namespace floe::image {

struct TestZtocOptions {
  uint64_t span_bytes = 4096;
  /// The blob is the archive itself.
  bool uncompressed = false;
  /// Of every gzip member.
  uint64_t header_bytes = 10;
  /// zinfo of version 1: without the first record.
  bool implied_start = false;
};

/// An honest ztoc of a layer, as `soci create` would write it; tests then make it lie.
soci::fbs::ZtocT MakeZtoc(std::string_view archive, std::string_view blob,
                          const TestZtocOptions& options = {});
std::string PackZtoc(const soci::fbs::ZtocT& ztoc);
/// The same tables again. `bytes` must be a ztoc.
soci::fbs::ZtocT UnpackZtoc(const std::string& bytes);

/// Bytes of one checkpoint's record and of what precedes the first one.
inline constexpr size_t kZinfoRecordBytes = 32785;
inline constexpr size_t kZinfoHeadBytes = 12;

}  // namespace floe::image
