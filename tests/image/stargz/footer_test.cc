#include "image/stargz/footer.h"

#include <string>

#include <gtest/gtest.h>

#include "image/little_endian.h"
#include "tests/image/stargz/stargz_support.h"
#include "tests/support/result_matchers.h"

namespace floe::image {
namespace {

constexpr uint64_t kBlobBytes = 100000;

std::string GzipFooter(std::string_view extra) {
  std::string footer("\x1f\x8b\x08\x04\0\0\0\0\0\xff", 10);
  footer.push_back(static_cast<char>(extra.size()));
  footer.push_back('\0');
  footer.append(extra);
  footer.append("\x01\0\0\xff\xff", 5);
  return footer.append(8, '\0');
}
std::string Estargz(const std::string& offset) {
  return GzipFooter(std::string("SG\x16\0", 4) + offset + "STARGZ");
}
std::string Words(std::initializer_list<uint64_t> words, std::string_view magic) {
  std::string footer;
  for (const uint64_t word : words) {
    AppendLittleEndian(footer, word);
  }
  return footer.append(magic);
}
Result<Footer> Parse(const std::string& footer, uint64_t blob = kBlobBytes) {
  return ParseFooter(BytesOf("what comes before it, of any kind" + footer), blob);
}

TEST(FooterTest, Estargz) {
  FLOE_ASSERT_OK_AND_ASSIGN(const Footer footer, Parse(Estargz("0000000000010000")));
  EXPECT_EQ(footer.kind, FooterKind::kEstargz);
  EXPECT_EQ(footer.toc, (ByteRange{65536, kBlobBytes - 51 - 65536}));
  EXPECT_EQ(footer.payload_end, 65536U);
}

TEST(FooterTest, LegacyStargz) {
  FLOE_ASSERT_OK_AND_ASSIGN(const Footer footer, Parse(GzipFooter("00000000000000ffSTARGZ")));
  EXPECT_EQ(footer.kind, FooterKind::kLegacyStargz);
  EXPECT_EQ(footer.toc, (ByteRange{255, kBlobBytes - 47 - 255}));
}

TEST(FooterTest, ExternalToc) {
  FLOE_ASSERT_OK_AND_ASSIGN(const Footer footer,
                            Parse(GzipFooter(std::string("SG\x11\0", 4) + "STARGZEXTERNALTOC")));
  EXPECT_EQ(footer.kind, FooterKind::kExternalToc);
  EXPECT_TRUE(footer.toc.empty());
  EXPECT_EQ(footer.payload_end, kBlobBytes - 46);
}

TEST(FooterTest, ZstdOfStargz) {
  FLOE_ASSERT_OK_AND_ASSIGN(const Footer footer, Parse(Words({5000, 300, 900, 1}, "GnUlInUx")));
  EXPECT_EQ(footer.kind, FooterKind::kZstdStargz);
  EXPECT_EQ(footer.toc, (ByteRange{5000, 300}));
  EXPECT_EQ(footer.toc_decoded_length, 900U);
  EXPECT_EQ(footer.payload_end, 4992U);
}

TEST(FooterTest, ZstdOfContainersStorage) {
  FLOE_ASSERT_OK_AND_ASSIGN(const Footer footer,
                            Parse(Words({5000, 300, 900, 1, 5308, 10, 20}, "GNUlInUx")));
  EXPECT_EQ(footer.kind, FooterKind::kZstdContainers);
  EXPECT_EQ(footer.toc, (ByteRange{5000, 300}));
}

TEST(FooterTest, OthersAreNotFound) {
  for (const std::string& tail :
       {std::string(), std::string(100, '\0'), Estargz("000000000001000g"),
        GzipFooter("00000000000000ffSTARG!"), GzipFooter(""), Estargz("0000000000010000") + "x",
        Words({5000, 300, 900, 1}, "GnUlInUy")}) {
    FLOE_EXPECT_ERROR(Parse(tail), ErrorCode::kNotFound, "no footer");
  }
  FLOE_EXPECT_ERROR(ParseFooter({}, 0), ErrorCode::kNotFound, "no footer");
}

TEST(FooterTest, PlacesOutsideTheBlobAreLies) {
  FLOE_EXPECT_ERROR(Parse(Estargz("0000000000000000")), ErrorCode::kDataLoss, "puts the table");
  FLOE_EXPECT_ERROR(Parse(Estargz("ffffffffffffffff")), ErrorCode::kDataLoss, "puts the table");
  FLOE_EXPECT_ERROR(Parse(Estargz("0000000000010000"), 65536 + 51), ErrorCode::kDataLoss,
                    "puts the table");
  FLOE_EXPECT_ERROR(Parse(Words({UINT64_MAX, 2, 900, 1}, "GnUlInUx")), ErrorCode::kDataLoss,
                    "is said to be");
  FLOE_EXPECT_ERROR(Parse(Words({8, 2, 900, 1}, "GnUlInUx")), ErrorCode::kDataLoss, "is said");
  FLOE_EXPECT_ERROR(Parse(Words({5000, 0, 900, 1}, "GnUlInUx")), ErrorCode::kDataLoss, "is said");
  FLOE_EXPECT_ERROR(Parse(Words({5000, kBlobBytes, 900, 1}, "GnUlInUx")), ErrorCode::kDataLoss,
                    "is said");
}

TEST(FooterTest, TypesAndSizesHaveLimits) {
  FLOE_EXPECT_ERROR(Parse(Words({5000, 300, 900, 2}, "GnUlInUx")), ErrorCode::kUnimplemented,
                    "type 2");
  FLOE_EXPECT_ERROR(Parse(Words({5000, 300, 200U << 20U, 1}, "GnUlInUx")),
                    ErrorCode::kResourceExhausted, "at most");
}

}  // namespace
}  // namespace floe::image
