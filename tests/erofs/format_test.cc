#include "erofs/format.h"

#include <sys/stat.h>

#include <gtest/gtest.h>

namespace floe::erofs::testing {
namespace {

TEST(FormatTest, Crc32cOfTheStandardCheckString) {
  // RFC 3720's check value is complemented at the end, the superblock's is not.
  EXPECT_EQ(~Crc32c("123456789"), 0xE3069283U);
}

TEST(FormatTest, DeviceNumbersSurviveEncoding) {
  for (const auto& [major, minor] : {std::pair{1U, 3U}, {259U, 70000U}, {kMaxMajor, kMaxMinor}}) {
    const uint32_t device = EncodeDevice(major, minor);
    EXPECT_EQ(DeviceMajor(device), major);
    EXPECT_EQ(DeviceMinor(device), minor);
  }
  EXPECT_EQ(EncodeDevice(1, 3), 0x103U);
}

TEST(FormatTest, XattrCountsAndBytesAgree) {
  EXPECT_EQ(XattrCountOfBytes(0), 0U);
  EXPECT_EQ(XattrCountOfBytes(12), 1U);
  EXPECT_EQ(XattrCountOfBytes(16), 2U);
  EXPECT_EQ(XattrBytesOfCount(0), 0U);
  EXPECT_EQ(XattrBytesOfCount(2), 16U);
}

TEST(FormatTest, EveryModeHasItsFileType) {
  EXPECT_EQ(FileTypeOfMode(S_IFREG | 0644), 1);
  EXPECT_EQ(FileTypeOfMode(S_IFDIR | 0755), 2);
  EXPECT_EQ(FileTypeOfMode(S_IFLNK | 0777), 7);
  EXPECT_EQ(FileTypeOfMode(0644), 0);
}

}  // namespace
}  // namespace floe::erofs::testing
