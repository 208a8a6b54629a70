#pragma once

#include <string_view>

#include "base/result.h"
#include "image/pax_records.h"

namespace floe::image {

/// A time as Go writes it for JSON and SOCI (RFC 3339, section 5.6, "date-time"):
/// "2023-11-14T22:13:20.5Z" or with an offset, "2023-11-14T23:13:20+01:00"; years 0000 to 9999,
/// digits of the fraction beyond the ninth are dropped. InvalidArgument: anything else.
Result<PaxTime> ParseRfc3339(std::string_view text);

}  // namespace floe::image
