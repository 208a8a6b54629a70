#include "snapshotter/image_cache.h"

#include <future>
#include <thread>

#include <gtest/gtest.h>

#include "tests/snapshotter/fake_images.h"
#include "tests/support/fake_clock.h"
#include "tests/support/result_matchers.h"

namespace floe::snapshotter {
namespace {

using ::testing::SizeIs;

class ImageCacheTest : public ::testing::Test {
 protected:
  void SetUp() override { source_.Add("app", image_); }

  testing::FakeClock clock_;
  testing::FakeImageSource source_;
  const prepare::IndexedImage image_ = testing::MakeImage("app", {{"a"}});
  const Digest manifest_ = image_.image.manifest_digest;
  ImageCache cache_{source_, clock_, std::chrono::seconds(20)};
};

TEST_F(ImageCacheTest, LoadsAnImageOnce) {
  FLOE_ASSERT_OK_AND_ASSIGN(const auto first, cache_.Get("app", manifest_));
  FLOE_ASSERT_OK_AND_ASSIGN(const auto second, cache_.Get("app", manifest_));
  EXPECT_EQ(first, second);
  EXPECT_THAT(source_.calls(), SizeIs(1));
}

TEST_F(ImageCacheTest, ImageOfATagIsKnownByItsDigestFromThenOn) {
  FLOE_ASSERT_OK(cache_.Get("app", std::nullopt));
  FLOE_ASSERT_OK(cache_.Get("app", manifest_));
  EXPECT_THAT(source_.calls(), SizeIs(1));
  EXPECT_NE(cache_.Peek("app", manifest_), nullptr);
}

TEST_F(ImageCacheTest, TagIsAskedForAgainSoon) {
  FLOE_ASSERT_OK(cache_.Get("app", std::nullopt));
  clock_.Advance(std::chrono::minutes(1));
  FLOE_ASSERT_OK(cache_.Get("app", std::nullopt));
  EXPECT_THAT(source_.calls(), SizeIs(2));
}

TEST_F(ImageCacheTest, PeekNeverLoads) {
  EXPECT_EQ(cache_.Peek("app", manifest_), nullptr);
  EXPECT_THAT(source_.calls(), SizeIs(0));
}

TEST_F(ImageCacheTest, RefusalIsForgottenSoonerThanAnOutage) {
  source_.Add("missing", NotFound("no index"));
  source_.Add("away", Unavailable("no route"));
  FLOE_EXPECT_ERROR(cache_.Get("missing", manifest_), ErrorCode::kNotFound, "no index");
  FLOE_EXPECT_ERROR(cache_.Get("away", manifest_), ErrorCode::kUnavailable, "no route");
  clock_.Advance(std::chrono::seconds(10));
  FLOE_EXPECT_ERROR(cache_.Get("missing", manifest_), ErrorCode::kNotFound, "no index");
  FLOE_EXPECT_ERROR(cache_.Get("away", manifest_), ErrorCode::kUnavailable, "no route");
  EXPECT_THAT(source_.calls(), SizeIs(3)) << "missing twice, away once";
}

TEST_F(ImageCacheTest, RefusedImageIsNotLazyForAWhile) {
  FLOE_ASSERT_OK(cache_.Get("app", manifest_));
  cache_.Refuse("app", manifest_, InvalidArgument("cannot be merged"));
  FLOE_EXPECT_ERROR(cache_.Get("app", manifest_), ErrorCode::kInvalidArgument, "merged");
  clock_.Advance(std::chrono::seconds(10));
  FLOE_EXPECT_OK(cache_.Get("app", manifest_));
}

TEST_F(ImageCacheTest, PurgeForgetsWhatHasExpired) {
  FLOE_ASSERT_OK(cache_.Get("app", manifest_));
  cache_.Purge();
  EXPECT_NE(cache_.Peek("app", manifest_), nullptr);
  clock_.Advance(std::chrono::hours(1));
  cache_.Purge();
  EXPECT_EQ(cache_.Peek("app", manifest_), nullptr);
}

TEST_F(ImageCacheTest, KeepsTheLastImagesOnly) {
  std::vector<prepare::IndexedImage> images;
  for (int i = 0; i < 20; ++i) {
    const std::string name = "app" + std::to_string(i);
    images.push_back(testing::MakeImage(name, {{"a"}}));
    source_.Add(name, images.back());
    FLOE_ASSERT_OK(cache_.Get(name, images.back().image.manifest_digest));
  }
  EXPECT_EQ(cache_.Peek("app0", images.front().image.manifest_digest), nullptr);
  EXPECT_NE(cache_.Peek("app19", images.back().image.manifest_digest), nullptr);
}

TEST_F(ImageCacheTest, CallersThatWaitShareTheLoad) {
  std::promise<void> loading;
  std::promise<void> go_on;
  source_.OnLoad([&] {
    loading.set_value();
    go_on.get_future().wait();
  });
  auto first = std::async(std::launch::async, [&] { return cache_.Get("app", manifest_); });
  loading.get_future().wait();
  auto second = std::async(std::launch::async, [&] { return cache_.Get("app", manifest_); });
  go_on.set_value();
  FLOE_ASSERT_OK_AND_ASSIGN(const auto one, first.get());
  FLOE_ASSERT_OK_AND_ASSIGN(const auto two, second.get());
  EXPECT_EQ(one, two);
  EXPECT_THAT(source_.calls(), SizeIs(1));
}

}  // namespace
}  // namespace floe::snapshotter
