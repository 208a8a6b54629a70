#include <chrono>
#include <filesystem>
#include <functional>
#include <map>

#include <gtest/gtest.h>

#include "base/file.h"
#include "base/mutex.h"
#include "image/index_codec.h"
#include "prepare/image_resolver.h"
#include "prepare/index_artifact.h"
#include "prepare/index_store.h"
#include "tests/prepare/image_support.h"
#include "tests/support/result_matchers.h"
#include "tests/support/temp_dir.h"

namespace floe::prepare {
namespace {

using Layers = std::vector<std::pair<Digest, ArtifactLayer>>;

// Holds each call until `wanted` of them have come. Calls that come one after the other's end never
// meet: the first gives up after a time limit that calls at the same time do not get near.
class Meeting {
 public:
  explicit Meeting(int wanted) : wanted_(wanted) {}

  void Join() {
    MutexLock lock(mutex_);
    ++come_;
    changed_.NotifyAll();
    const auto limit = Clock::Real().Now() + std::chrono::seconds(5);
    while (come_ < wanted_ && !missed_) {
      missed_ = !changed_.WaitUntil(mutex_, limit);
    }
  }
  bool met() {
    MutexLock lock(mutex_);
    return come_ >= wanted_ && !missed_;
  }

 private:
  const int wanted_;
  Mutex mutex_;
  CondVar changed_;
  int come_ FLOE_GUARDED_BY(mutex_) = 0;
  bool missed_ FLOE_GUARDED_BY(mutex_) = false;
};

class ResolveIndexedImageTest : public ::testing::Test {
 protected:
  void SetUp() override { FLOE_ASSERT_OK_AND_ASSIGN(image_, fixture_.Resolve()); }

  testing::MemoryRegistryClient& registry() { return fixture_.registry; }
  const fetcher::Repository& repository() { return fixture_.repository; }

  void Publish(PublishOptions options = {}) {
    FLOE_ASSERT_OK_AND_ASSIGN(published_, fixture_.Index(image_, options));
    registry().ForgetCalls();
  }
  void PublishBound() {
    PublishOptions options;
    options.bind = true;
    Publish(options);
  }

  // What Publish() pushed, to be made worse.
  Layers GoodLayers() {
    Layers layers;
    for (const PublishedLayer& layer : published_.layers) {
      ArtifactLayer parts{{layer.tree, layer.tree_bytes}, std::nullopt};
      if (!layer.windows.IsZero()) {
        parts.windows = ArtifactObject{layer.windows, layer.windows_bytes};
      }
      layers.emplace_back(layer.layer, parts);
    }
    return layers;
  }
  Digest PushArtifact(const Layers& layers, const Digest& subject) {
    return registry().AddManifest(
        repository(), "", kManifestType,
        WriteIndexArtifact(subject, kManifestType, image_.manifest_bytes.size(), layers));
  }
  // The only referrer is an artifact of these layers.
  Digest ReplaceArtifact(const Layers& layers) {
    registry().RemoveManifest(repository(), published_.manifest);
    Digest pushed = PushArtifact(layers, fixture_.manifest);
    registry().ForgetCalls();
    return pushed;
  }

  ImageFixture fixture_;
  ResolvedImage image_;
  PublishedIndex published_;
  testing::TempDir store_;
};

TEST_F(ResolveIndexedImageTest, ImageWithoutIndexIsNotFound) {
  FLOE_EXPECT_ERROR(fixture_.Find(IndexTrust::kRepository), ErrorCode::kNotFound,
                    fixture_.manifest.ToString());
}

TEST_F(ResolveIndexedImageTest, ReadsTheIndexOfEveryLayer) {
  Publish();
  FLOE_ASSERT_OK_AND_ASSIGN(IndexedImage found, fixture_.Find(IndexTrust::kRepository));
  ASSERT_EQ(found.layers.size(), 2U);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(found.layers[i].index->data().blobs[0].digest, fixture_.layers[i].digest());
    EXPECT_EQ(found.layers[i].origin, image::IndexOrigin::kRepository);
    EXPECT_EQ(found.layers[i].index_manifest, published_.manifest);
    EXPECT_EQ(found.layers[i].tree_bytes, published_.layers[i].tree_bytes);
  }
}

TEST_F(ResolveIndexedImageTest, NeverReadsWindows) {
  Publish();
  ASSERT_FALSE(published_.layers[0].windows.IsZero());
  FLOE_ASSERT_OK(fixture_.Find(IndexTrust::kRepository));
  EXPECT_EQ(registry().CountCalls(published_.layers[0].windows.ToString()), 0U);
}

TEST_F(ResolveIndexedImageTest, FindsTheIndexUnderTheFallbackTag) {
  registry().EnableReferrersApi(false);
  Publish();
  ASSERT_TRUE(published_.used_fallback_tag);
  FLOE_ASSERT_OK_AND_ASSIGN(IndexedImage found, fixture_.Find(IndexTrust::kRepository));
  EXPECT_EQ(found.layers[0].index_manifest, published_.manifest);
}

TEST_F(ResolveIndexedImageTest, LayerThatStandsTwiceIsReadOnce) {
  PushImage(registry(), repository(), "twice",
            {fixture_.layers[0], fixture_.layers[1], fixture_.layers[0]});
  FLOE_ASSERT_OK_AND_ASSIGN(ResolvedImage twice, fixture_.Resolve("twice"));
  FLOE_ASSERT_OK_AND_ASSIGN(PublishedIndex published, fixture_.Index(twice));
  registry().ForgetCalls();
  FLOE_ASSERT_OK_AND_ASSIGN(IndexedImage found,
                            fixture_.Find(IndexTrust::kRepository, "", "twice"));
  ASSERT_EQ(found.layers.size(), 3U);
  EXPECT_EQ(found.layers[0].index, found.layers[2].index);
  EXPECT_EQ(registry().CountCalls("GetBlob " + published.layers[0].tree.ToString()), 1U);
}

TEST_F(ResolveIndexedImageTest, RegistryFailureIsPassedOn) {
  Publish();
  registry().FailCalls("ListReferrers", Unavailable("registry is down"));
  FLOE_EXPECT_ERROR(fixture_.Find(IndexTrust::kRepository), ErrorCode::kUnavailable, "down");
  registry().ClearFailures();
  registry().FailCalls("GetBlob " + published_.layers[0].tree.ToString(), Unavailable("no blob"));
  FLOE_EXPECT_ERROR(fixture_.Find(IndexTrust::kRepository), ErrorCode::kUnavailable, "no blob");
}

// --- who vouches ---

TEST_F(ResolveIndexedImageTest, BoundIndexIsPreferredAndNeedsNoReferrers) {
  PublishBound();
  FLOE_ASSERT_OK_AND_ASSIGN(IndexedImage found, fixture_.Find(IndexTrust::kRepository));
  EXPECT_EQ(found.layers[0].origin, image::IndexOrigin::kBound);
  EXPECT_EQ(found.layers[1].origin, image::IndexOrigin::kBound);
  EXPECT_EQ(registry().CountCalls("ListReferrers"), 0U);
}

TEST_F(ResolveIndexedImageTest, BoundTrustTakesABoundIndex) {
  PublishBound();
  FLOE_ASSERT_OK_AND_ASSIGN(IndexedImage found, fixture_.Find(IndexTrust::kBound));
  EXPECT_EQ(found.layers[0].origin, image::IndexOrigin::kBound);
}

TEST_F(ResolveIndexedImageTest, BoundTrustRefusesAReferrer) {
  Publish();
  FLOE_EXPECT_ERROR(fixture_.Find(IndexTrust::kBound), ErrorCode::kPermissionDenied,
                    fixture_.manifest.ToString());
  EXPECT_EQ(registry().CountCalls("GetBlob " + published_.layers[0].tree.ToString()), 0U);
}

TEST_F(ResolveIndexedImageTest, BoundTrustSaysWhenThereIsNothingAtAll) {
  FLOE_EXPECT_ERROR(fixture_.Find(IndexTrust::kBound), ErrorCode::kNotFound,
                    fixture_.manifest.ToString());
}

TEST_F(ResolveIndexedImageTest, BoundTrustRefusesAKeptReferrer) {
  Publish();
  FLOE_ASSERT_OK(fixture_.Find(IndexTrust::kRepository, store_.path()));
  FLOE_EXPECT_ERROR(fixture_.Find(IndexTrust::kBound, store_.path()), ErrorCode::kPermissionDenied,
                    "only a referrer");
}

TEST_F(ResolveIndexedImageTest, LocalTrustRefusesWhatTheRegistryHas) {
  PublishBound();
  FLOE_ASSERT_OK(fixture_.Find(IndexTrust::kRepository, store_.path()));
  registry().ForgetCalls();
  FLOE_EXPECT_ERROR(fixture_.Find(IndexTrust::kLocal, store_.path()), ErrorCode::kPermissionDenied,
                    fixture_.manifest.ToString());
  EXPECT_EQ(registry().CountCalls("ListReferrers"), 0U);
  EXPECT_EQ(registry().CountCalls("GetBlob"), 1U);  // The config.
}

// An index may not say that its data needs no digest.
TEST_F(ResolveIndexedImageTest, IndexWithoutDigestsIsRefused) {
  Publish();
  FLOE_ASSERT_OK_AND_ASSIGN(const IndexedImage good, fixture_.Find(IndexTrust::kRepository));
  image::LayerIndexData data = good.layers[0].index->data();
  for (image::Group& group : data.groups) {
    group.digest_kind = image::DigestKind::kNone;
  }
  FLOE_ASSERT_OK_AND_ASSIGN(const auto index, image::LayerIndex::Create(std::move(data)));
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string tree, image::EncodeLayerIndex(index));
  Layers layers = GoodLayers();
  layers[0].second.tree = {registry().AddBlob(repository(), tree), tree.size()};
  ReplaceArtifact(layers);
  FLOE_EXPECT_ERROR(fixture_.Find(IndexTrust::kRepository), ErrorCode::kPermissionDenied,
                    "nothing vouches for");
}

TEST_F(ResolveIndexedImageTest, KeptIndexOfOneRepositorySaysNothingAboutAnother) {
  Publish();
  FLOE_ASSERT_OK(fixture_.Find(IndexTrust::kRepository, store_.path()));
  const fetcher::Repository other{"registry.test", "other"};
  PushImage(registry(), other, "1", fixture_.layers);
  FLOE_EXPECT_ERROR(
      ResolveIndexedImage(registry(), {other, "1", std::nullopt}, std::nullopt, LinuxOn("amd64"),
                          FindOptions{.store_dir = store_.path()}, Deadline()),
      ErrorCode::kNotFound, "other");
}

// --- indexes that lie ---

TEST_F(ResolveIndexedImageTest, TreeOfAnotherBlobIsDataLoss) {
  Publish();
  Layers layers = GoodLayers();
  std::swap(layers[0].second, layers[1].second);
  const Digest lying = ReplaceArtifact(layers);
  auto found = fixture_.Find(IndexTrust::kRepository);
  FLOE_EXPECT_ERROR(found, ErrorCode::kDataLoss, "another blob");
  EXPECT_THAT(found.error().message, ::testing::HasSubstr(lying.ToString()));
}

TEST_F(ResolveIndexedImageTest, TreeOfAnotherSizeThanItsDescriptorIsDataLoss) {
  Publish();
  Layers layers = GoodLayers();
  layers[0].second.tree.size_bytes += 1;
  ReplaceArtifact(layers);
  FLOE_EXPECT_ERROR(fixture_.Find(IndexTrust::kRepository), ErrorCode::kDataLoss,
                    fixture_.layers[0].digest().ToString());
}

TEST_F(ResolveIndexedImageTest, TreeThatSaysAnotherLayerSizeIsDataLoss) {
  Publish();
  auto bytes = registry().BlobBytes(repository(), published_.layers[1].tree);
  FLOE_ASSERT_OK_AND_ASSIGN(image::LayerIndex index, image::DecodeLayerIndex(*bytes));
  image::LayerIndexData data = index.data();
  data.blobs[0].size_bytes += 100;
  FLOE_ASSERT_OK_AND_ASSIGN(image::LayerIndex larger, image::LayerIndex::Create(std::move(data)));
  FLOE_ASSERT_OK_AND_ASSIGN(std::string lie, image::EncodeLayerIndex(larger));
  Layers layers = GoodLayers();
  layers[1].second.tree = {registry().AddBlob(repository(), lie), lie.size()};
  ReplaceArtifact(layers);
  FLOE_EXPECT_ERROR(fixture_.Find(IndexTrust::kRepository), ErrorCode::kDataLoss,
                    fixture_.layers[1].digest().ToString());
}

TEST_F(ResolveIndexedImageTest, CorruptTreeIsDataLossAndNotKept) {
  Publish();
  const Digest tree = published_.layers[0].tree;
  std::string bytes = *registry().BlobBytes(repository(), tree);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  registry().ReplaceBlob(repository(), tree, bytes);
  FLOE_EXPECT_ERROR(fixture_.Find(IndexTrust::kRepository, store_.path()), ErrorCode::kDataLoss,
                    tree.ToString());
  EXPECT_FALSE(IndexStore(store_.path())
                   .Has(IndexStore::RepositoryScope(repository()), fixture_.layers[0].digest()));
}

TEST_F(ResolveIndexedImageTest, TreeThatIsNoIndexIsRefused) {
  Publish();
  Layers layers = GoodLayers();
  layers[0].second.tree = {registry().AddBlob(repository(), "not an index"), 12};
  ReplaceArtifact(layers);
  auto found = fixture_.Find(IndexTrust::kRepository);
  ASSERT_FALSE(found.has_value());
  EXPECT_THAT(found.error().message, ::testing::HasSubstr(fixture_.layers[0].digest().ToString()));
}

TEST_F(ResolveIndexedImageTest, OtherWindowsThanTheTreeNamesAreDataLoss) {
  Publish();
  Layers layers = GoodLayers();
  layers[0].second.windows = ArtifactObject{Digest::Of("other"), 5};
  ReplaceArtifact(layers);
  FLOE_EXPECT_ERROR(fixture_.Find(IndexTrust::kRepository), ErrorCode::kDataLoss, "windows");
  layers[0].second.windows.reset();
  ReplaceArtifact(layers);
  FLOE_EXPECT_ERROR(fixture_.Find(IndexTrust::kRepository), ErrorCode::kDataLoss, "windows");
}

TEST_F(ResolveIndexedImageTest, ArtifactThatLacksALayerIsNotFound) {
  Publish();
  Layers layers = GoodLayers();
  layers.pop_back();
  ReplaceArtifact(layers);
  FLOE_EXPECT_ERROR(fixture_.Find(IndexTrust::kRepository), ErrorCode::kNotFound,
                    fixture_.layers[1].digest().ToString());
}

TEST_F(ResolveIndexedImageTest, IndexWithAnotherDiffIdThanTheConfigIsDataLoss) {
  Publish();
  const Digest manifest = PushImage(
      registry(), repository(), "diff", fixture_.layers,
      {.diff_ids = std::vector{fixture_.layers[0].diff_id, Digest::Of("something else")}});
  PushArtifact(GoodLayers(), manifest);
  FLOE_EXPECT_ERROR(fixture_.Find(IndexTrust::kRepository, "", "diff"), ErrorCode::kDataLoss,
                    fixture_.layers[1].digest().ToString());
}

TEST_F(ResolveIndexedImageTest, LyingIndexIsSkippedForAnOlderGoodOne) {
  Publish();
  Layers layers = GoodLayers();
  std::swap(layers[0].second, layers[1].second);
  const Digest lying = PushArtifact(layers, fixture_.manifest);
  FLOE_ASSERT_OK_AND_ASSIGN(IndexedImage found, fixture_.Find(IndexTrust::kRepository));
  EXPECT_EQ(found.layers[0].index_manifest, published_.manifest);
  EXPECT_EQ(registry().CountCalls("GetManifest " + lying.ToString()), 1U);
}

TEST_F(ResolveIndexedImageTest, NewestGoodIndexWins) {
  Publish();
  Layers layers = GoodLayers();
  std::swap(layers[0], layers[1]);
  const Digest newest = PushArtifact(layers, fixture_.manifest);
  ASSERT_NE(newest, published_.manifest);
  FLOE_ASSERT_OK_AND_ASSIGN(IndexedImage found, fixture_.Find(IndexTrust::kRepository));
  EXPECT_EQ(found.layers[0].index_manifest, newest);
  EXPECT_EQ(registry().CountCalls("GetManifest " + published_.manifest.ToString()), 0U);
}

class LyingBoundIndexTest : public ResolveIndexedImageTest {
 protected:
  void SetUp() override {
    ResolveIndexedImageTest::SetUp();
    Publish();
    Layers layers = GoodLayers();
    std::swap(layers[0].second, layers[1].second);
    lying_ = Bind(layers, fixture_.manifest, 0);
  }

  // Binds such an artifact under the tag "lying"; only the OCI index names it, no referrers list.
  Digest Bind(const Layers& layers, const Digest& subject, uint64_t extra_size) {
    const std::string artifact =
        WriteIndexArtifact(subject, kManifestType, image_.manifest_bytes.size(), layers);
    registry().EnableReferrersApi(false);
    const Digest digest = registry().AddManifest(repository(), "", kManifestType, artifact);
    registry().EnableReferrersApi(true);
    image::Descriptor image;
    image.media_type = kManifestType;
    image.digest = fixture_.manifest;
    image.size_bytes = image_.manifest_bytes.size();
    image.platform = LinuxOn("amd64");
    auto index = WriteBoundIndex("", "", image, {digest, artifact.size() + extra_size});
    EXPECT_TRUE(index.has_value());
    registry().AddManifest(repository(), "lying", kIndexType, index.value_or(""));
    return digest;
  }

  Digest lying_;
};

TEST_F(LyingBoundIndexTest, OfAnotherImageIsDataLoss) {
  const Digest other = Digest::Of("another image");
  Bind(GoodLayers(), other, 0);
  FLOE_EXPECT_ERROR(fixture_.Find(IndexTrust::kBound, "", "lying"), ErrorCode::kDataLoss,
                    other.ToString());
}

TEST_F(LyingBoundIndexTest, OfAnotherSizeThanItsDescriptorIsDataLoss) {
  const Digest bound = Bind(GoodLayers(), fixture_.manifest, 1);
  FLOE_EXPECT_ERROR(fixture_.Find(IndexTrust::kBound, "", "lying"), ErrorCode::kDataLoss,
                    bound.ToString());
}

TEST_F(LyingBoundIndexTest, IsSkippedForAReferrerWhenTrusted) {
  FLOE_ASSERT_OK_AND_ASSIGN(IndexedImage found,
                            fixture_.Find(IndexTrust::kRepository, "", "lying"));
  EXPECT_EQ(found.layers[0].origin, image::IndexOrigin::kRepository);
  EXPECT_EQ(found.layers[0].index_manifest, published_.manifest);
}

TEST_F(LyingBoundIndexTest, IsTheErrorWhenReferrersAreNotTrusted) {
  FLOE_EXPECT_ERROR(fixture_.Find(IndexTrust::kBound, "", "lying"), ErrorCode::kDataLoss,
                    lying_.ToString());
  EXPECT_EQ(registry().CountCalls("ListReferrers"), 0U);
}

TEST_F(LyingBoundIndexTest, IsTheErrorWhenNothingElseIsGood) {
  registry().RemoveManifest(repository(), published_.manifest);
  FLOE_EXPECT_ERROR(fixture_.Find(IndexTrust::kRepository, "", "lying"), ErrorCode::kDataLoss,
                    lying_.ToString());
}

// --- what is kept ---

class KeptIndexTest : public ResolveIndexedImageTest {
 protected:
  void SetUp() override {
    ResolveIndexedImageTest::SetUp();
    Publish();
    FLOE_ASSERT_OK(fixture_.Find(IndexTrust::kRepository, store_.path()));
    registry().ForgetCalls();
  }

  std::filesystem::path File(size_t layer, const std::string& suffix) {
    return store_.path() / IndexStore::RepositoryScope(repository()) /
           (fixture_.layers[layer].digest().hex() + suffix);
  }
  // A damaged file is a miss, and the next search puts a good one in its place.
  void ExpectReplaced() {
    FLOE_ASSERT_OK(fixture_.Find(IndexTrust::kRepository, store_.path()));
    EXPECT_EQ(registry().CountCalls("ListReferrers"), 1U);
    registry().ForgetCalls();
    FLOE_ASSERT_OK(fixture_.Find(IndexTrust::kRepository, store_.path()));
    EXPECT_EQ(registry().CountCalls("ListReferrers"), 0U);
  }
};

TEST_F(KeptIndexTest, NeedsOnlyManifestAndConfig) {
  FLOE_ASSERT_OK_AND_ASSIGN(IndexedImage found,
                            fixture_.Find(IndexTrust::kRepository, store_.path()));
  EXPECT_EQ(registry().calls().size(), 2U);
  EXPECT_EQ(found.layers[0].origin, image::IndexOrigin::kRepository);
  EXPECT_EQ(found.layers[0].index_manifest, published_.manifest);
}

TEST_F(KeptIndexTest, CorruptTreeIsAMissAndReplaced) {
  FLOE_ASSERT_OK(WriteFileAtomically(File(0, ".tree"), "garbage"));
  ExpectReplaced();
}

TEST_F(KeptIndexTest, TruncatedRecordIsAMissAndReplaced) {
  FLOE_ASSERT_OK(WriteFileAtomically(File(1, ".json"), R"({"tree":"sha256:)"));
  ExpectReplaced();
}

TEST_F(KeptIndexTest, MissingTreeIsAMissAndReplaced) {
  FLOE_ASSERT_OK(RemoveFile(File(0, ".tree")));
  ExpectReplaced();
}

TEST_F(KeptIndexTest, OnlyWhatIsMissingIsFetched) {
  FLOE_ASSERT_OK(RemoveFile(File(0, ".json")));
  FLOE_ASSERT_OK(fixture_.Find(IndexTrust::kRepository, store_.path()));
  EXPECT_EQ(registry().CountCalls("GetBlob " + published_.layers[0].tree.ToString()), 1U);
  EXPECT_EQ(registry().CountCalls("GetBlob " + published_.layers[1].tree.ToString()), 0U);
}

TEST_F(KeptIndexTest, CanBeReadAgainByScope) {
  FLOE_ASSERT_OK_AND_ASSIGN(IndexedImage found,
                            fixture_.Find(IndexTrust::kRepository, store_.path()));
  const Digest layer = fixture_.layers[0].digest();
  FLOE_ASSERT_OK_AND_ASSIGN(auto index, ReadKeptLayer(store_.path(), found.layers[0].scope, layer));
  EXPECT_EQ(index.index->data().blobs[0].digest, layer);
  FLOE_EXPECT_ERROR(ReadKeptLayer(store_.path(), "local", layer), ErrorCode::kNotFound,
                    layer.ToString());
}

TEST_F(KeptIndexTest, EntryOfAnotherLayerIsRefused) {
  std::filesystem::copy_file(File(0, ".tree"), File(1, ".tree"),
                             std::filesystem::copy_options::overwrite_existing);
  std::filesystem::copy_file(File(0, ".json"), File(1, ".json"),
                             std::filesystem::copy_options::overwrite_existing);
  FLOE_EXPECT_ERROR(ReadKeptLayer(store_.path(), IndexStore::RepositoryScope(repository()),
                                  fixture_.layers[1].digest()),
                    ErrorCode::kDataLoss, fixture_.layers[1].digest().ToString());
  ExpectReplaced();
}

TEST_F(ResolveIndexedImageTest, EmptyStoreDirectoryKeepsNothingAnywhere) {
  Publish();
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(store_.path());
  auto found = fixture_.Find(IndexTrust::kRepository, "");
  std::filesystem::current_path(before);
  FLOE_EXPECT_OK(found);
  EXPECT_TRUE(std::filesystem::is_empty(store_.path()));
}

TEST_F(ResolveIndexedImageTest, StoreThatCannotBeWrittenDoesNotHinderTheStart) {
  Publish();
  FLOE_ASSERT_OK(WriteFileAtomically(store_ / "file", "in the way"));
  FLOE_EXPECT_OK(fixture_.Find(IndexTrust::kRepository, store_ / "file"));
}

// --- round trips ---

TEST_F(ResolveIndexedImageTest, TreesAreFetchedAtTheSameTime) {
  Publish();
  Meeting trees(2);
  registry().OnCall([&](const std::string& call) {
    if (call == "GetBlob " + published_.layers[0].tree.ToString() ||
        call == "GetBlob " + published_.layers[1].tree.ToString()) {
      trees.Join();
    }
  });
  FLOE_EXPECT_OK(fixture_.Find(IndexTrust::kRepository));
  EXPECT_TRUE(trees.met());
}

TEST_F(ResolveIndexedImageTest, AsksForConfigAndReferrersAtTheSameTime) {
  Publish();
  Meeting both(2);
  const std::string config = "GetBlob " + image_.manifest.config.digest.ToString();
  registry().OnCall([&](const std::string& call) {
    if (call == config || call.starts_with("ListReferrers")) {
      both.Join();
    }
  });
  FLOE_ASSERT_OK_AND_ASSIGN(IndexedImage found,
                            fixture_.Find(IndexTrust::kRepository, store_.path()));
  EXPECT_TRUE(both.met());
  EXPECT_EQ(found.image.manifest_digest, fixture_.manifest);
  EXPECT_EQ(found.layers[0].index_manifest, published_.manifest);
  // Manifest, config, referrers, index manifest, two trees: each once.
  EXPECT_EQ(registry().calls().size(), 6U);
}

TEST_F(ResolveIndexedImageTest, AsksForNoReferrersWhenAnIndexIsBound) {
  PublishBound();
  FLOE_ASSERT_OK_AND_ASSIGN(IndexedImage found,
                            fixture_.Find(IndexTrust::kRepository, store_.path()));
  EXPECT_EQ(found.layers[0].origin, image::IndexOrigin::kBound);
  EXPECT_EQ(registry().CountCalls("ListReferrers"), 0U);
}

TEST_F(ResolveIndexedImageTest, FailsAsItsStepsDo) {
  FLOE_EXPECT_ERROR(fixture_.Find(IndexTrust::kRepository, store_.path()), ErrorCode::kNotFound,
                    fixture_.manifest.ToString());
  FLOE_EXPECT_ERROR(fixture_.Find(IndexTrust::kLocal), ErrorCode::kPermissionDenied, "local");
  FLOE_EXPECT_ERROR(fixture_.Find(IndexTrust::kRepository, "", "none"), ErrorCode::kNotFound,
                    "app:none");
  registry().FailCalls("GetBlob " + image_.manifest.config.digest.ToString(), Unavailable("gone"));
  FLOE_EXPECT_ERROR(fixture_.Find(IndexTrust::kRepository, store_.path()), ErrorCode::kUnavailable,
                    "gone");
}

}  // namespace
}  // namespace floe::prepare
