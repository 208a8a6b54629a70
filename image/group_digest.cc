#include "image/group_digest.h"

#include "base/blake3.h"
#include "base/digest.h"

namespace floe::image {
namespace {

Result<void> Compare(std::string_view what, const Sha256& found, const Sha256& expected) {
  if (found != expected) {
    return DataLoss("its {} is {}, not {}", what, HexEncode(found), HexEncode(expected));
  }
  return Ok();
}

}  // namespace

Result<void> CheckGroupDigest(const GroupView& group, std::span<const std::byte> decoded,
                              std::span<const std::byte> compressed) {
  switch (group.digest_kind) {
    case DigestKind::kSha256:
      return Compare("sha256", Digest::Of(decoded).bytes(), group.digest);
    case DigestKind::kBlake3:
      return Compare("blake3", Blake3(decoded), group.digest);
    case DigestKind::kCompressedSha256:
      return Compare("sha256 of compressed bytes", Digest::Of(compressed).bytes(), group.digest);
    case DigestKind::kNone:
      return Ok();
  }
  return DataLoss("a digest of unknown kind");
}

}  // namespace floe::image
