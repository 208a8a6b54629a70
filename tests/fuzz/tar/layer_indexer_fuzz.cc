// Any bytes as a layer: LayerIndexer ends with a valid index or an error of its contract. An index
// that LayerIndex::Create refuses would be DataLoss, which no honest plain archive may give.
#include <cstdint>
#include <span>
#include <string>

#include "base/check.h"
#include "image/layer_indexer.h"
#include "tests/fuzz/tar/fix_checksums.h"

namespace floe::image {
namespace {

Result<IndexedLayer> Index(const std::string& blob) {
  const LayerSource source{
      .digest = Digest::Of(blob), .size_bytes = blob.size(), .media_type = "", .diff_id = {}};
  FLOE_ASSIGN_OR_RETURN(
      const auto indexer,
      LayerIndexer::Create(source, {.span_bytes = 1000, .max_decoded_bytes = 16U << 20U}));
  FLOE_RETURN_IF_ERROR(indexer->Feed(std::as_bytes(std::span(blob.data(), blob.size()))));
  return indexer->Finish();
}

bool IsCompressed(const std::string& blob) {
  return blob.starts_with("\x1f\x8b") || blob.starts_with("\x28\xb5\x2f\xfd") ||
         (blob.size() >= 4 && blob.compare(1, 3, "\x2a\x4d\x18") == 0);
}

}  // namespace
}  // namespace floe::image

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace floe;  // NOLINT(google-build-using-namespace): an extern "C" function.
  const std::string blob = image::WithChecksums(data, size);
  const Result<image::IndexedLayer> result = image::Index(blob);
  if (!result.has_value()) {
    const ErrorCode code = result.error().code;
    FLOE_CHECK(result.error().message.find('\n') == std::string::npos);
    FLOE_CHECK(code == ErrorCode::kInvalidArgument ||
               (image::IsCompressed(blob) &&
                (code == ErrorCode::kDataLoss || code == ErrorCode::kUnimplemented)));
  }
  return 0;
}
