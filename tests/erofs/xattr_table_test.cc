#include "erofs/xattr_table.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace floe::erofs::testing {
namespace {

TEST(XattrNameTest, KnownNamespacesAreSplit) {
  EXPECT_EQ(SplitXattrName("user.a.b")->prefix, 1);
  EXPECT_EQ(SplitXattrName("user.a.b")->suffix, "a.b");
  EXPECT_EQ(SplitXattrName("system.posix_acl_access")->prefix, 2);
  EXPECT_EQ(SplitXattrName("system.posix_acl_access")->suffix, "");
  EXPECT_EQ(SplitXattrName("system.posix_acl_default")->prefix, 3);
  EXPECT_EQ(SplitXattrName("trusted.x")->prefix, 4);
  EXPECT_EQ(SplitXattrName("security.capability")->prefix, 6);
}

TEST(XattrNameTest, UnknownNamespacesAreNot) {
  for (const char* name : {"com.apple.quarantine", "user.", "user", "system.posix_acl_accessx",
                           "system.nfs4_acl", ""}) {
    EXPECT_FALSE(SplitXattrName(name).has_value()) << name;
  }
}

TEST(XattrTableTest, EqualPairsHaveOneNumber) {
  XattrTable table;
  const uint32_t first = table.Add({1, "a"}, "v");
  EXPECT_EQ(table.Add({1, "a"}, "v"), first);
  EXPECT_NE(table.Add({4, "a"}, "v"), first);
  EXPECT_NE(table.Add({1, "a"}, "w"), first);
  EXPECT_NE(table.Add({1, "av"}, ""), first);
}

TEST(XattrTableTest, ManyPairsStayApart) {
  std::vector<std::string> values;
  for (int i = 0; i < 5000; ++i) {
    values.push_back(std::to_string(i));
  }
  XattrTable table;
  for (uint32_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(table.Add({1, "n"}, values[i]), i);
  }
  for (uint32_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(table.Add({1, "n"}, values[i]), i);
  }
}

TEST(XattrTableTest, OnlyLargePairsOfSeveralInodesAreShared) {
  const std::string large(100, 'x');
  const std::string other(100, 'y');
  XattrTable table;
  const std::vector<uint32_t> shared = {table.Add({1, "large"}, large)};
  table.Add({1, "large"}, large);
  const std::vector<uint32_t> lonely = {table.Add({1, "large"}, other)};
  const std::vector<uint32_t> small = {table.Add({1, "s"}, "1")};
  table.Add({1, "s"}, "1");
  table.PlaceShared();
  EXPECT_EQ(table.shared_area_bytes(), 112U);  // 4 + 5 + 100, padded.
  EXPECT_EQ(table.AreaBytes(shared), 16U);
  EXPECT_EQ(table.AreaBytes(lonely), 12U + 112U);
  EXPECT_EQ(table.AreaBytes(small), 12U + 8U);
  EXPECT_EQ(table.AreaBytes({}), 0U);
}

}  // namespace
}  // namespace floe::erofs::testing
