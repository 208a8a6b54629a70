#include <algorithm>
#include <atomic>
#include <thread>

#include <gtest/gtest.h>

#include "erofs/reader.h"
#include "snapshotter/labels.h"
#include "snapshotter/remote.h"
#include "snapshotter/snapshots.h"
#include "tests/snapshotter/snapshotter_fixture.h"

namespace floe::snapshotter {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr const char* kRef = "registry.test/app:latest";

/// Pulls and runs images as containerd does.
class LazyTest : public testing::SnapshotterFixture {
 protected:
  /// What the unpacker's Prepare of a layer answers.
  Result<std::vector<Mount>> Extract(const Labels& labels, const std::string& parent) {
    return snapshots_->Prepare("extract-" + std::to_string(++extractions_), parent, labels);
  }

  /// The lookup that containerd makes after ALREADY_EXISTS; empty when it finds nothing.
  std::string FindRemote(const std::string& chain_id, const std::string& parent) {
    auto found = snapshots_->List(
        {"labels.\"containerd.io/snapshot.ref\"==" + chain_id + ",parent==\"" + parent + "\""});
    if (!found || found->empty() || found->front().kind != Kind::kCommitted) {
      return "";
    }
    return found->front().name;
  }

  /// Pulls layers [first, count) lazily onto `parent` and returns the name of the top one.
  std::string PullLazily(const prepare::IndexedImage& image, const std::string& ref,
                         const std::string& parent = "", size_t first = 0) {
    std::string top = parent;
    for (size_t i = first; i < image.layers.size(); ++i) {
      const Labels labels = testing::CriLabels(image, ref, i);
      const auto answer = Extract(labels, top);
      EXPECT_FALSE(answer.has_value());
      EXPECT_EQ(answer.error().code, ErrorCode::kAlreadyExists) << answer.error().ToString();
      top = FindRemote(image.image.chain_ids[i].ToString(), top);
      EXPECT_NE(top, "");
    }
    return top;
  }

  /// Unpacks layer `position` as a client does that had to download it.
  std::string Unpack(const prepare::IndexedImage& image, size_t position, const std::string& parent,
                     const std::vector<std::string>& files) {
    const std::string name = "ns/1/" + image.image.chain_ids[position].ToString();
    MakeUnpacked(name, parent, files);
    return name;
  }

  erofs::InodeInfo LookUp(const std::filesystem::path& bootstrap, const std::string& path) {
    bytes_ = ReadFile(bootstrap).value();
    auto reader = erofs::BootstrapReader::Open(bytes_);
    auto found = reader->Lookup(path);
    EXPECT_TRUE(found.has_value()) << path;
    return found.value_or(erofs::InodeInfo{});
  }

  const testing::FakeMounter::Mounted& OnlyMount() {
    EXPECT_THAT(mounter_.mounted(), SizeIs(1));
    return mounter_.mounted().begin()->second;
  }

  int extractions_ = 0;
  std::string bytes_;
};

TEST_F(LazyTest, IndexedImageIsNeverUnpacked) {
  const auto image = testing::MakeImage("app", {{"bin/"}, {"bin/sh"}, {"etc/"}});
  source_.Add(kRef, image);
  const std::string top = PullLazily(image, kRef);
  EXPECT_THAT(Names(layout_.snapshots()), IsEmpty());
  EXPECT_THAT(source_.calls(), SizeIs(1)) << "one load for all layers";
  FLOE_ASSERT_OK_AND_ASSIGN(const Info info, snapshots_->Stat(top));
  EXPECT_EQ(info.labels, testing::CriLabels(image, kRef, 2));

  FLOE_ASSERT_OK_AND_ASSIGN(const auto mounts, snapshots_->Prepare("container", top, {}));
  EXPECT_EQ(mounts[0].type, "overlay");
  EXPECT_THAT(Lowers(mounts), ElementsAre("mnt/3"));
  EXPECT_EQ(OnlyMount().target, layout_.mount_point(3));
  LookUp(OnlyMount().plan.bootstrap, "bin/sh");
}

TEST_F(LazyTest, ContainersOfAnImageShareItsMount) {
  const auto image = testing::MakeImage("app", {{"bin/"}, {"bin/sh"}});
  source_.Add(kRef, image);
  const std::string top = PullLazily(image, kRef);
  FLOE_ASSERT_OK_AND_ASSIGN(const auto one, snapshots_->Prepare("one", top, {}));
  FLOE_ASSERT_OK_AND_ASSIGN(const auto two, snapshots_->Prepare("two", top, {}));
  EXPECT_EQ(Lowers(one), Lowers(two));
  EXPECT_THAT(mounter_.mounted(), SizeIs(1));
}

TEST_F(LazyTest, ViewOfALazyImageIsABind) {
  const auto image = testing::MakeImage("app", {{"bin/"}, {"bin/sh"}});
  source_.Add(kRef, image);
  FLOE_ASSERT_OK_AND_ASSIGN(const auto mounts, snapshots_->View("v", PullLazily(image, kRef), {}));
  EXPECT_EQ(mounts[0].type, "bind");
  EXPECT_EQ(mounts[0].source, layout_.mount_point(2).native());
  EXPECT_THAT(mounts[0].options, ElementsAre("ro", "rbind"));
}

TEST_F(LazyTest, SecondPullFindsTheLayersWithoutARegistry) {
  const auto image = testing::MakeImage("app", {{"a"}, {"b"}});
  source_.Add(kRef, image);
  const std::string top = PullLazily(image, kRef);
  Restart();
  source_.Add(kRef, Unavailable("the registry is gone"));
  EXPECT_EQ(PullLazily(image, kRef), top);
  EXPECT_THAT(source_.calls(), SizeIs(1));
}

TEST_F(LazyTest, MountsAloneBringsAnImageBackAfterAReboot) {
  const auto image = testing::MakeImage("app", {{"a"}, {"b"}});
  source_.Add(kRef, image);
  FLOE_ASSERT_OK_AND_ASSIGN(const auto before,
                            snapshots_->Prepare("container", PullLazily(image, kRef), {}));
  mounter_.Forget();
  Restart();
  source_.Add(kRef, Unavailable("the registry is gone"));
  FLOE_ASSERT_OK_AND_ASSIGN(const auto after, snapshots_->Mounts("container"));
  EXPECT_EQ(after, before);
  EXPECT_EQ(OnlyMount().target, layout_.mount_point(2));
  EXPECT_THAT(source_.calls(), SizeIs(1)) << "only that of the pull";
}

TEST_F(LazyTest, LostPlanIsWrittenAgainFromWhatTheNodeKeeps) {
  const auto image = testing::MakeImage("app", {{"a"}, {"b"}});
  source_.Add(kRef, image);
  const std::string top = PullLazily(image, kRef);
  for (const std::string& plan : Names(layout_.plans())) {
    std::filesystem::remove(layout_.plan(plan) / "plan.json");
  }
  Restart();
  FLOE_ASSERT_OK(snapshots_->Prepare("container", top, {}));
  EXPECT_THAT(source_.calls(), SizeIs(1)) << "only that of the pull";
  LookUp(OnlyMount().plan.bootstrap, "b");
}

TEST_F(LazyTest, RegistryIsAskedForWhatTheNodeHasLost) {
  const auto image = testing::MakeImage("app", {{"a"}, {"b"}});
  source_.Add(kRef, image);
  const std::string top = PullLazily(image, kRef);
  for (const std::string& plan : Names(layout_.plans())) {
    FLOE_ASSERT_OK(RemoveTree(layout_.plan(plan)));
  }
  Restart();
  source_.LoseKept();
  FLOE_ASSERT_OK(snapshots_->Prepare("container", top, {}));
  ASSERT_THAT(source_.calls(), SizeIs(2));
  EXPECT_EQ(source_.calls()[1].image_ref, kRef);
  EXPECT_EQ(source_.calls()[1].manifest, image.image.manifest_digest);
}

TEST_F(LazyTest, PartOfAnImageCanBeMountedToo) {
  const auto image = testing::MakeImage("app", {{"a"}, {"b"}, {"c"}});
  source_.Add(kRef, image);
  PullLazily(image, kRef);
  const std::string bottom = FindRemote(image.image.chain_ids[0].ToString(), "");
  FLOE_ASSERT_OK_AND_ASSIGN(const auto mounts, snapshots_->Prepare("container", bottom, {}));
  EXPECT_THAT(Lowers(mounts), ElementsAre("mnt/1"));
  LookUp(OnlyMount().plan.bootstrap, "a");
  EXPECT_FALSE(erofs::BootstrapReader::Open(bytes_)->Lookup("b").has_value());
}

TEST_F(LazyTest, ImageWithoutIndexIsUnpacked) {
  const auto image = testing::MakeImage("app", {{"a"}, {"b"}});
  source_.Add(kRef, NotFound("no index for it"));
  FLOE_ASSERT_OK_AND_ASSIGN(const auto mounts, Extract(testing::CriLabels(image, kRef, 0), ""));
  EXPECT_EQ(mounts[0].type, "bind");
}

TEST_F(LazyTest, FailureIsRememberedForTheOtherLayers) {
  const auto image = testing::MakeImage("app", {{"a"}, {"b"}, {"c"}});
  source_.Add(kRef, Unavailable("no route"));
  std::string parent;
  for (size_t i = 0; i < 3; ++i) {
    FLOE_ASSERT_OK(Extract(testing::CriLabels(image, kRef, i), parent));
    parent = Unpack(image, i, parent, {});
  }
  EXPECT_THAT(source_.calls(), SizeIs(1));
  clock_.Advance(std::chrono::minutes(1));
  FLOE_ASSERT_OK(Extract(testing::CriLabels(image, kRef, 0), ""));
  EXPECT_THAT(source_.calls(), SizeIs(2));
}

TEST_F(LazyTest, OtherLabelFamiliesAreUnderstood) {
  const auto image = testing::MakeImage("app", {{"a"}});
  source_.Add(kRef, image);
  const std::string chain_id = image.image.chain_ids[0].ToString();
  const std::string layer = image.image.manifest.layers[0].digest.ToString();
  for (const std::string prefix : {"floe.", "remote/stargz."}) {
    const bool floe = prefix == "floe.";
    const Labels labels = {
        {kLabelSnapshotRef, chain_id},
        {"containerd.io/snapshot/" + prefix + (floe ? "image-ref" : "reference"), kRef},
        {"containerd.io/snapshot/" + prefix + (floe ? "layer-digest" : "digest"), layer}};
    const auto answer = Extract(labels, "");
    ASSERT_FALSE(answer.has_value());
    EXPECT_EQ(answer.error().code, ErrorCode::kAlreadyExists);
    FLOE_ASSERT_OK(snapshots_->Remove(FindRemote(chain_id, "")));
  }
}

TEST_F(LazyTest, UnusableLabelsMeanUnpacking) {
  const auto image = testing::MakeImage("app", {{"a"}, {"b"}});
  source_.Add(kRef, image);
  Labels only_ref = {{kLabelSnapshotRef, image.image.chain_ids[0].ToString()}};
  FLOE_EXPECT_OK(Extract(only_ref, ""));
  Labels bad_ref = testing::CriLabels(image, kRef, 0);
  bad_ref[kLabelSnapshotRef] = "sha256:short";
  FLOE_EXPECT_OK(Extract(bad_ref, ""));
  Labels no_layer = testing::CriLabels(image, kRef, 0);
  no_layer.erase("containerd.io/snapshot/cri.layer-digest");
  FLOE_EXPECT_OK(Extract(no_layer, ""));
  Labels bad_manifest = testing::CriLabels(image, kRef, 0);
  bad_manifest["containerd.io/snapshot/cri.manifest-digest"] = "md5:0";
  FLOE_EXPECT_OK(Extract(bad_manifest, ""));
  EXPECT_THAT(source_.calls(), IsEmpty());
}

TEST_F(LazyTest, LayerMustStandWhereTheChainIdSaysItDoes) {
  const auto image = testing::MakeImage("app", {{"a"}, {"b"}});
  source_.Add(kRef, image);
  Labels other_layer = testing::CriLabels(image, kRef, 0);
  other_layer["containerd.io/snapshot/cri.layer-digest"] =
      image.image.manifest.layers[1].digest.ToString();
  FLOE_EXPECT_OK(Extract(other_layer, ""));
  Labels other_chain = testing::CriLabels(image, kRef, 0);
  other_chain[kLabelSnapshotRef] = Digest::Of("elsewhere").ToString();
  FLOE_EXPECT_OK(Extract(other_chain, ""));
}

TEST_F(LazyTest, LayerWithoutItsParentIsUnpacked) {
  // Parallel unpacking: every layer is prepared on nothing.
  const auto image = testing::MakeImage("app", {{"a"}, {"b"}});
  source_.Add(kRef, image);
  FLOE_EXPECT_OK(Extract(testing::CriLabels(image, kRef, 1), ""));
  // A bottom layer on something, and an upper one on the wrong lazy parent.
  const std::string bottom = PullLazily(testing::MakeImage("app", {{"a"}}), kRef);
  FLOE_EXPECT_OK(Extract(testing::CriLabels(image, kRef, 0), bottom));
  const auto other = testing::MakeImage("other", {{"x"}, {"y"}});
  source_.Add("registry.test/other:latest", other);
  FLOE_EXPECT_OK(Extract(testing::CriLabels(other, "registry.test/other:latest", 1), bottom));
}

TEST_F(LazyTest, MissingParentIsNotFound) {
  const auto image = testing::MakeImage("app", {{"a"}, {"b"}});
  source_.Add(kRef, image);
  FLOE_EXPECT_ERROR(Extract(testing::CriLabels(image, kRef, 1), "gone"), ErrorCode::kNotFound,
                    "gone");
}

TEST_F(LazyTest, WithoutCacheManagerEverythingIsUnpackedAndNothingAsked) {
  with_mounter_ = false;
  Restart();
  const auto image = testing::MakeImage("app", {{"a"}});
  source_.Add(kRef, image);
  FLOE_EXPECT_OK(Extract(testing::CriLabels(image, kRef, 0), ""));
  EXPECT_THAT(source_.calls(), IsEmpty());
}

TEST_F(LazyTest, WhileNoCacheManagerAnswersPullsAreUnpacked) {
  const auto image = testing::MakeImage("app", {{"a"}});
  source_.Add(kRef, image);
  mounter_.GoAway();
  FLOE_EXPECT_OK(Extract(testing::CriLabels(image, kRef, 0), ""));
}

TEST_F(LazyTest, WhileNoCacheManagerAnswersLazyContainersAreUnavailable) {
  const auto image = testing::MakeImage("app", {{"a"}});
  source_.Add(kRef, image);
  const std::string top = PullLazily(image, kRef);
  FLOE_ASSERT_OK(snapshots_->Prepare("running", top, {}));
  mounter_.GoAway();
  FLOE_EXPECT_ERROR(snapshots_->Prepare("container", top, {}), ErrorCode::kUnavailable,
                    "nobody answers");
  FLOE_EXPECT_ERROR(snapshots_->Mounts("running"), ErrorCode::kUnavailable, "nobody answers");
  FLOE_EXPECT_ERROR(snapshots_->Stat("container"), ErrorCode::kNotFound, "");
  FLOE_EXPECT_OK(snapshots_->Prepare("ordinary", "", {}));
  FLOE_EXPECT_OK(snapshots_->Cleanup());
  mounter_.ComeBack();
  FLOE_EXPECT_OK(snapshots_->Prepare("container", top, {}));
}

TEST_F(LazyTest, LayerBuiltOnALazyImage) {
  const auto image = testing::MakeImage("app", {{"a"}, {"b"}});
  source_.Add(kRef, image);
  MakeUnpacked("built", PullLazily(image, kRef), {"own"});
  FLOE_ASSERT_OK_AND_ASSIGN(const auto mounts, snapshots_->Prepare("container", "built", {}));
  EXPECT_THAT(Lowers(mounts), ElementsAre("snapshots/3/fs", "mnt/2"));
}

TEST_F(LazyTest, LazyLayersOnUnpackedOnesKeepTheirWhiteouts) {
  const auto image = testing::MakeImage("app", {{"etc/", "etc/a"}, {"etc/", "etc/-a", "etc/b"}});
  source_.Add(kRef, image);
  const std::string bottom = Unpack(image, 0, "", {"etc/a"});
  const std::string top = PullLazily(image, kRef, bottom, 1);
  FLOE_ASSERT_OK_AND_ASSIGN(const auto mounts, snapshots_->Prepare("container", top, {}));
  EXPECT_THAT(Lowers(mounts), ElementsAre("mnt/2", "snapshots/1/fs"));
  const erofs::InodeInfo whiteout = LookUp(OnlyMount().plan.bootstrap, "etc/a");
  EXPECT_EQ(whiteout.mode & S_IFMT, static_cast<uint32_t>(S_IFCHR));
  EXPECT_EQ(whiteout.rdev_major + whiteout.rdev_minor, 0U);
}

TEST_F(LazyTest, BottomRunAppliesItsWhiteouts) {
  const auto image = testing::MakeImage("app", {{"etc/", "etc/a"}, {"etc/", "etc/-a", "etc/b"}});
  source_.Add(kRef, image);
  FLOE_ASSERT_OK(snapshots_->Prepare("container", PullLazily(image, kRef), {}));
  LookUp(OnlyMount().plan.bootstrap, "etc/b");
  EXPECT_FALSE(erofs::BootstrapReader::Open(bytes_)->Lookup("etc/a").has_value());
}

TEST_F(LazyTest, ImpliedDirectoryLooksLikeTheUnpackedOneBelow) {
  const auto image =
      testing::MakeImage("app", {{"srv/", "srv/data/"}, {"srv/data/deep/new", "gone/new"}});
  source_.Add(kRef, image);
  const std::string bottom = Unpack(image, 0, "", {"srv/data/file"});
  const std::filesystem::path data = layout_.upper(1) / "srv/data";
  ASSERT_EQ(::chown(data.c_str(), 12, 34), 0);
  ASSERT_EQ(::chmod(data.c_str(), 01770), 0);
  const std::string top = PullLazily(image, kRef, bottom, 1);
  FLOE_ASSERT_OK(snapshots_->Prepare("container", top, {}));
  const erofs::InodeInfo merged = LookUp(OnlyMount().plan.bootstrap, "srv/data");
  EXPECT_EQ(merged.mode, static_cast<uint32_t>(S_IFDIR | 01770));
  EXPECT_EQ(merged.uid, 12U);
  EXPECT_EQ(merged.gid, 34U);
  for (const std::string absent_below : {"srv/data/deep", "gone"}) {
    const erofs::InodeInfo made = LookUp(OnlyMount().plan.bootstrap, absent_below);
    EXPECT_EQ(made.mode, static_cast<uint32_t>(S_IFDIR | 0755)) << absent_below;
    EXPECT_EQ(made.uid, 0U);
  }
  LookUp(OnlyMount().plan.bootstrap, "srv/data/deep/new");
}

TEST_F(LazyTest, ThreeKindsOfPieces) {
  const auto image = testing::MakeImage("app", {{"a"}, {"b"}});
  source_.Add(kRef, image);
  const std::string lazy_bottom = PullLazily(image, kRef);
  MakeUnpacked("middle", lazy_bottom, {"m"});
  const auto upper = testing::MakeImage("upper", {{"a"}, {"b"}, {"m"}, {"x"}, {"y"}},
                                        {"app layer 0", "app layer 1"});
  source_.Add("registry.test/upper:1", upper);
  const std::string top = PullLazily(upper, "registry.test/upper:1", "middle", 3);
  FLOE_ASSERT_OK_AND_ASSIGN(const auto mounts, snapshots_->Prepare("container", top, {}));
  EXPECT_THAT(Lowers(mounts), ElementsAre("mnt/5", "snapshots/3/fs", "mnt/2"));
  EXPECT_THAT(mounter_.mounted(), SizeIs(2));
}

TEST_F(LazyTest, RunMayDrawFromTwoImages) {
  const auto base = testing::MakeImage("base", {{"a"}}, {"shared"});
  const auto app = testing::MakeImage("app", {{"a"}, {"b"}}, {"shared"});
  source_.Add("registry.test/base:1", base);
  source_.Add(kRef, app);
  const std::string bottom = PullLazily(base, "registry.test/base:1");
  const std::string top = PullLazily(app, kRef, bottom, 1);
  FLOE_ASSERT_OK_AND_ASSIGN(const auto mounts, snapshots_->Prepare("container", top, {}));
  EXPECT_THAT(Lowers(mounts), ElementsAre("mnt/2"));
  LookUp(OnlyMount().plan.bootstrap, "b");
}

TEST_F(LazyTest, UnusedImageIsUnmountedByCleanup) {
  const auto image = testing::MakeImage("app", {{"a"}});
  source_.Add(kRef, image);
  const std::string top = PullLazily(image, kRef);
  FLOE_ASSERT_OK(snapshots_->Prepare("one", top, {}));
  FLOE_ASSERT_OK(snapshots_->View("two", top, {}));
  FLOE_ASSERT_OK(snapshots_->Remove("one"));
  FLOE_ASSERT_OK(snapshots_->Cleanup());
  EXPECT_THAT(mounter_.mounted(), SizeIs(1)) << "still used by the view";
  FLOE_ASSERT_OK(snapshots_->Remove("two"));
  FLOE_ASSERT_OK(snapshots_->Cleanup());
  EXPECT_THAT(mounter_.mounted(), IsEmpty());
  EXPECT_THAT(Names(layout_.mount_points()), IsEmpty());
  EXPECT_THAT(Names(layout_.plans()), SizeIs(1)) << "the image is still there";
  FLOE_ASSERT_OK(snapshots_->Remove(top));
  FLOE_ASSERT_OK(snapshots_->Cleanup());
  EXPECT_THAT(Names(layout_.plans()), IsEmpty());
}

TEST_F(LazyTest, BusyImageStaysForTheNextCleanup) {
  const auto image = testing::MakeImage("app", {{"a"}});
  source_.Add(kRef, image);
  FLOE_ASSERT_OK(snapshots_->Prepare("one", PullLazily(image, kRef), {}));
  mounter_.SetBusy(mounter_.mounted().begin()->first);
  FLOE_ASSERT_OK(snapshots_->Remove("one"));
  FLOE_EXPECT_OK(snapshots_->Cleanup());
  EXPECT_THAT(Names(layout_.mount_points()), ElementsAre("1"));
}

TEST_F(LazyTest, UsageOfALazySnapshotIsItsPlan) {
  const auto image = testing::MakeImage("app", {{"a"}, {"b"}});
  source_.Add(kRef, image);
  const std::string top = PullLazily(image, kRef);
  FLOE_ASSERT_OK_AND_ASSIGN(const Usage usage, snapshots_->GetUsage(top));
  EXPECT_GE(usage.size_bytes, 4096U);
  FLOE_ASSERT_OK_AND_ASSIGN(const Usage bottom, snapshots_->GetUsage(FindRemote(
                                                    image.image.chain_ids[0].ToString(), "")));
  EXPECT_EQ(bottom, Usage{});
}

TEST_F(LazyTest, UnfinishedPlanOfAKilledProcessIsNotUsed) {
  const auto image = testing::MakeImage("app", {{"a"}});
  source_.Add(kRef, image);
  const std::string key = image.image.chain_ids[0].hex();
  std::filesystem::create_directories(layout_.plan("tmp-" + key));
  FLOE_ASSERT_OK(WriteFileAtomically(layout_.plan("tmp-" + key) / "plan.json", "half"));
  std::filesystem::create_directories(layout_.plan(key));
  FLOE_ASSERT_OK(WriteFileAtomically(layout_.plan(key) / "plan.json", "{}"));
  FLOE_ASSERT_OK(snapshots_->Prepare("one", PullLazily(image, kRef), {}));
  EXPECT_THAT(Names(layout_.plans()), ElementsAre(key));
  LookUp(OnlyMount().plan.bootstrap, "a");
}

TEST_F(LazyTest, ParallelPullsOfOneImageLoadItOnce) {
  const auto image = testing::MakeImage("app", {{"a"}});
  source_.Add(kRef, image);
  std::atomic<int> already_exists = 0;
  {
    std::vector<std::jthread> pulls;
    for (int i = 0; i < 8; ++i) {
      pulls.emplace_back([&, i] {
        const auto answer = snapshots_->Prepare("extract " + std::to_string(i), "",
                                                testing::CriLabels(image, kRef, 0));
        already_exists += !answer && answer.error().code == ErrorCode::kAlreadyExists ? 1 : 0;
      });
    }
  }
  EXPECT_EQ(already_exists, 8);
  EXPECT_THAT(source_.calls(), SizeIs(1));
  FLOE_ASSERT_OK_AND_ASSIGN(const auto all, snapshots_->List({}));
  EXPECT_THAT(all, SizeIs(1));
}

TEST_F(LazyTest, CleanupBesideContainersNeverTakesTheirMount) {
  const auto image = testing::MakeImage("app", {{"a"}});
  source_.Add(kRef, image);
  const std::string top = PullLazily(image, kRef);
  std::atomic<bool> done = false;
  std::jthread cleaner([&] {
    while (!done) {
      (void)snapshots_->Cleanup();
    }
  });
  for (int i = 0; i < 20; ++i) {
    const std::string key = "container " + std::to_string(i);
    FLOE_ASSERT_OK(snapshots_->Prepare(key, top, {}));
    FLOE_ASSERT_OK(snapshots_->Cleanup());
    EXPECT_THAT(mounter_.mounted(), SizeIs(1));
    FLOE_ASSERT_OK(snapshots_->Remove(key));
  }
  done = true;
}

TEST(LazySnapshotNameTest, DependsOnChainAndParent) {
  const Digest chain = Digest::Of("chain");
  EXPECT_THAT(LazySnapshotName(chain, ""), HasSubstr("lazy/" + chain.ToString() + "/"));
  EXPECT_NE(LazySnapshotName(chain, ""), LazySnapshotName(chain, "parent"));
}

}  // namespace
}  // namespace floe::snapshotter
