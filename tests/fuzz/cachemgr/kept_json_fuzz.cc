// What the cache manager reads back from its root: record.json of a mount, sources.json of a blob.
// What is accepted comes back from its encoding.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/check.h"
#include "cachemgr/cache/sources.h"
#include "cachemgr/mounts/mount_record.h"
#include "tests/fuzz/input.h"

namespace floe::cachemgr {
namespace {

const std::vector<std::string>& Seeds() {
  static const std::vector<std::string> kSeeds = {
      EncodeMountRecord({.id = "first.mount-1",
                         .target = "/run/with \"quotes\"",
                         .bootstrap_digest = "sha256:" + std::string(64, 'a'),
                         .keys = {std::string(64, 'b'), std::string(64, 'c')},
                         .channel = "fanotify",
                         .instance = "instance",
                         .boot_id = "boot",
                         .device = 1048577,
                         .lost = true}),
      EncodeSources(
          {{.repository = {.registry = "registry.example:5000", .path = "library/app"},
            .plain_http = true},
           {.repository = {.registry = "other.example", .path = "a/b"}, .plain_http = false}})};
  return kSeeds;
}

void CheckRecord(const std::string& text) {
  const auto record = DecodeMountRecord(text);
  if (!record) {
    FLOE_CHECK(record.error().code == ErrorCode::kDataLoss);
    return;
  }
  (void)IsMountId(record->id);
  const std::string encoded = EncodeMountRecord(*record);
  const auto again = DecodeMountRecord(encoded);
  FLOE_CHECK(again.has_value() && EncodeMountRecord(*again) == encoded);
  FLOE_CHECK(again->id == record->id && again->target == record->target);
  FLOE_CHECK(again->bootstrap_digest == record->bootstrap_digest && again->keys == record->keys);
  FLOE_CHECK(again->channel == record->channel && again->instance == record->instance);
  FLOE_CHECK(again->boot_id == record->boot_id && again->device == record->device);
  FLOE_CHECK(again->lost == record->lost);
}

void CheckSources(const std::string& text) {
  const auto sources = DecodeSources(text);
  if (!sources) {
    FLOE_CHECK(sources.error().code == ErrorCode::kDataLoss);
    return;
  }
  const auto again = DecodeSources(EncodeSources(*sources));
  FLOE_CHECK(again.has_value() && *again == *sources);
}

}  // namespace
}  // namespace floe::cachemgr

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  floe::testing::FuzzInput input(data, size);
  const std::string text = floe::testing::EditedText(input, floe::cachemgr::Seeds());
  floe::cachemgr::CheckRecord(text);
  floe::cachemgr::CheckSources(text);
  return 0;
}
