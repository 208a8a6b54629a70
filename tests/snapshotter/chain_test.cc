#include "snapshotter/chain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace floe::snapshotter {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

LazyLayer Lazy(const std::string& name) {
  LazyLayer layer;
  layer.chain_id = Digest::Of(name);
  return layer;
}

ChainLink LazyLink(uint64_t id, const std::string& name) { return {.id = id, .lazy = Lazy(name)}; }
ChainLink Unpacked(uint64_t id) { return {.id = id, .lazy = std::nullopt}; }

Node Committed(uint64_t id, uint64_t parent) {
  return {.id = id, .parent_id = parent, .kind = Kind::kCommitted, .lazy = std::nullopt};
}
Node LazyNode(uint64_t id, uint64_t parent, const std::string& name) {
  return {.id = id, .parent_id = parent, .kind = Kind::kCommitted, .lazy = Lazy(name)};
}
Node Active(uint64_t id, uint64_t parent) {
  return {.id = id, .parent_id = parent, .kind = Kind::kActive, .lazy = std::nullopt};
}

TEST(ChainTest, EmptyChainHasNoPieces) { EXPECT_THAT(SplitChain({}), IsEmpty()); }

TEST(ChainTest, LazyNeighboursAreOneRun) {
  const auto pieces = SplitChain({LazyLink(3, "c"), LazyLink(2, "b"), LazyLink(1, "a")});
  ASSERT_EQ(pieces.size(), 1U);
  EXPECT_TRUE(pieces[0].is_run());
  EXPECT_EQ(pieces[0].top_id, 3U);
  EXPECT_EQ(pieces[0].base_id, 0U);
  EXPECT_EQ(pieces[0].layers.size(), 3U);
  EXPECT_EQ(RunKey(pieces[0]), Digest::Of("c").hex());
}

TEST(ChainTest, UnpackedLayersSeparateRuns) {
  const auto pieces = SplitChain({Unpacked(6), LazyLink(5, "e"), LazyLink(4, "d"), Unpacked(3),
                                  Unpacked(2), LazyLink(1, "a")});
  ASSERT_EQ(pieces.size(), 5U);
  EXPECT_FALSE(pieces[0].is_run());
  EXPECT_EQ(pieces[0].base_id, 5U);
  EXPECT_TRUE(pieces[1].is_run());
  EXPECT_EQ(pieces[1].base_id, 3U);
  EXPECT_EQ(RunKey(pieces[1]), Digest::Of("e").hex() + "-3");
  EXPECT_EQ(pieces[4].base_id, 0U);
}

TEST(ChainTest, OnlyWhatContainersStandOnIsMounted) {
  const RunsInUse in_use =
      FindRunsInUse({LazyNode(1, 0, "a"), LazyNode(2, 1, "b"), LazyNode(3, 2, "c"), Committed(4, 3),
                     Active(5, 4), LazyNode(6, 4, "f"), LazyNode(7, 6, "g")});
  EXPECT_THAT(in_use.tops, ElementsAre(3));
}

TEST(ChainTest, ContainersOnTwoHeightsOfAnImageNeedTwoMounts) {
  const RunsInUse in_use =
      FindRunsInUse({LazyNode(1, 0, "a"), LazyNode(2, 1, "b"), Active(3, 1), Active(4, 2)});
  EXPECT_THAT(in_use.tops, ElementsAre(1, 2));
}

TEST(ChainTest, EveryRunOfAChainIsMounted) {
  const RunsInUse in_use =
      FindRunsInUse({LazyNode(1, 0, "a"), Committed(2, 1), LazyNode(3, 2, "c"), Active(4, 3)});
  EXPECT_THAT(in_use.tops, ElementsAre(1, 3));
}

TEST(ChainTest, PlansOfAllLazySnapshotsAreKept) {
  const RunsInUse in_use = FindRunsInUse({LazyNode(1, 0, "a"), LazyNode(2, 1, "b"), Committed(3, 2),
                                          LazyNode(4, 3, "d"), LazyNode(5, 4, "e")});
  EXPECT_THAT(in_use.tops, IsEmpty());
  EXPECT_THAT(in_use.keys, ::testing::UnorderedElementsAre(
                               Digest::Of("a").hex(), Digest::Of("b").hex(),
                               Digest::Of("d").hex() + "-3", Digest::Of("e").hex() + "-3"));
}

}  // namespace
}  // namespace floe::snapshotter
