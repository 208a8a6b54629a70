#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/result.h"
#include "fetcher/registry_client.h"

namespace floe::fetcher {

/// "sha256-<hex>": where clients of registries without the Referrers API keep the list.
[[nodiscard]] std::string FallbackTag(const Digest& subject);

/// The descriptors of an image index as referrers lists use it (distribution-spec 1.1). Entries
/// without a sha256 digest or a size are left out. DataLoss when it is not such an index.
Result<std::vector<ReferrerDescriptor>> ParseReferrers(std::string_view json);

/// The same index with `descriptor` added, unless its digest stands in it already (then the bytes
/// come back unchanged). Everything else in it is kept. Empty `json`: a new index.
Result<std::string> WithReferrer(std::string_view json, const ReferrerDescriptor& descriptor);

/// The target of the first rel="next" of a Link header (RFC 8288); empty when there is none.
[[nodiscard]] std::string NextPage(std::string_view link_header);

}  // namespace floe::fetcher
