#include <gtest/gtest.h>

#include "tests/support/memory_registry_client.h"
#include "tests/support/result_matchers.h"

namespace floe::testing {
namespace {

const fetcher::Repository kRepository{"registry.test", "app"};

TEST(MemoryRegistryTest, ServesExactRanges) {
  MemoryRegistryClient registry;
  const Digest digest = registry.AddBlob(kRepository, "0123456789");
  FLOE_ASSERT_OK_AND_ASSIGN(
      std::string bytes,
      registry.FetchRangeSync({.repository = kRepository, .digest = digest, .range = {3, 4}}));
  EXPECT_EQ(bytes, "3456");
  FLOE_EXPECT_ERROR(
      registry.FetchRangeSync({.repository = kRepository, .digest = digest, .range = {8, 4}}),
      ErrorCode::kDataLoss, digest.ToString());
  FLOE_EXPECT_ERROR(registry.FetchRangeSync(
                        {.repository = kRepository, .digest = Digest::Of("x"), .range = {0, 1}}),
                    ErrorCode::kNotFound, "registry.test/app");
}

TEST(MemoryRegistryTest, ChecksWholeBlobs) {
  MemoryRegistryClient registry;
  const Digest digest = registry.AddBlob(kRepository, "0123456789");
  FLOE_EXPECT_OK(registry.GetBlob(kRepository, digest, 10, Deadline()));
  FLOE_EXPECT_ERROR(registry.GetBlob(kRepository, digest, 9, Deadline()),
                    ErrorCode::kResourceExhausted, digest.ToString());
  registry.ReplaceBlob(kRepository, digest, "changed");
  FLOE_EXPECT_ERROR(registry.GetBlob(kRepository, digest, 10, Deadline()), ErrorCode::kDataLoss,
                    digest.ToString());
}

TEST(MemoryRegistryTest, TakesNoManifestWhosePartsAreMissing) {
  MemoryRegistryClient registry;
  const std::string manifest =
      R"({"schemaVersion":2,"config":{"mediaType":"a/b","size":2,"digest":")" +
      Digest::Of("{}").ToString() + R"("},"layers":[]})";
  const std::string type = "application/vnd.oci.image.manifest.v1+json";
  FLOE_EXPECT_ERROR(registry.PushManifest(kRepository, "t", type, manifest, Deadline()),
                    ErrorCode::kInvalidArgument, Digest::Of("{}").ToString());
  registry.AddBlob(kRepository, "{}");
  FLOE_EXPECT_OK(registry.PushManifest(kRepository, "t", type, manifest, Deadline()));
  FLOE_EXPECT_OK(registry.GetManifest(kRepository, "t", Deadline()));
}

TEST(MemoryRegistryTest, FailsTheCallsItIsTold) {
  MemoryRegistryClient registry;
  const Digest digest = registry.AddBlob(kRepository, "x");
  registry.FailCalls("HasBlob", Unavailable("down"));
  FLOE_EXPECT_ERROR(registry.HasBlob(kRepository, digest, Deadline()), ErrorCode::kUnavailable,
                    "down");
  registry.ClearFailures();
  FLOE_EXPECT_OK(registry.HasBlob(kRepository, digest, Deadline()));
  EXPECT_EQ(registry.CountCalls("HasBlob " + digest.ToString()), 2U);
}

}  // namespace
}  // namespace floe::testing
