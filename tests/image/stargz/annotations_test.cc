#include "image/stargz/annotations.h"

#include <string>

#include <gtest/gtest.h>

#include "tests/support/result_matchers.h"

namespace floe::image {
namespace {

constexpr const char* kTocDigest = "containerd.io/snapshot/stargz/toc.digest";
const std::string kOld = "io.containers.zstd-chunked.";
const std::string kNew = "io.github.containers.zstd-chunked.";
const std::string kDigest = Digest::Of("one").ToString();

Descriptor Layer(std::map<std::string, std::string> annotations) {
  Descriptor layer;
  layer.size_bytes = 10000;
  layer.annotations = std::move(annotations);
  return layer;
}

TEST(AnnotationsTest, EachFamilyIsUnderstood) {
  FLOE_ASSERT_OK_AND_ASSIGN(TocAnnotations stargz,
                            ParseTocAnnotations(Layer({{kTocDigest, kDigest}})));
  EXPECT_EQ(stargz.toc_digest, Digest::Of("one"));
  EXPECT_FALSE(stargz.compressed_digest || stargz.position);
  for (const std::string& family : {kOld, kNew}) {
    FLOE_ASSERT_OK_AND_ASSIGN(
        TocAnnotations zstd,
        ParseTocAnnotations(Layer({{family + "manifest-checksum", kDigest},
                                   {family + "manifest-position", "2000:300:900:1"}})));
    EXPECT_EQ(zstd.compressed_digest, Digest::Of("one"));
    EXPECT_FALSE(zstd.toc_digest.has_value());
    ASSERT_TRUE(zstd.position.has_value());
    EXPECT_EQ(zstd.position->toc, (ByteRange{2000, 300}));
    EXPECT_EQ(zstd.position->decoded_length, 900U);
  }
}

TEST(AnnotationsTest, SayWhetherALayerIsOfTheFormat) {
  EXPECT_FALSE(HasTocAnnotations(Layer({})));
  EXPECT_FALSE(HasTocAnnotations(Layer({{"org.example", "x"}})));
  EXPECT_TRUE(HasTocAnnotations(Layer({{kTocDigest, ""}})));
  EXPECT_TRUE(HasTocAnnotations(Layer({{"io.containers.estargz.uncompressed-size", "1"}})));
  EXPECT_TRUE(HasTocAnnotations(Layer({{kNew + "manifest-position", ""}})));
}

TEST(AnnotationsTest, TwoFamiliesMustAgree) {
  FLOE_EXPECT_OK(ParseTocAnnotations(
      Layer({{kOld + "manifest-checksum", kDigest}, {kNew + "manifest-checksum", kDigest}})));
  FLOE_EXPECT_ERROR(
      ParseTocAnnotations(Layer({{kOld + "manifest-checksum", kDigest},
                                 {kNew + "manifest-checksum", Digest::Of("two").ToString()}})),
      ErrorCode::kDataLoss, "another one says");
  FLOE_EXPECT_ERROR(ParseTocAnnotations(Layer({{kOld + "manifest-position", "2000:300:900:1"},
                                               {kNew + "manifest-position", "2000:300:901:1"}})),
                    ErrorCode::kDataLoss, "another one says");
}

TEST(AnnotationsTest, BadDigestsAreRefused) {
  FLOE_EXPECT_ERROR(ParseTocAnnotations(Layer({{kTocDigest, "sha512:00"}})),
                    ErrorCode::kInvalidArgument, "'sha512:00'");
  FLOE_EXPECT_ERROR(ParseTocAnnotations(Layer({{kNew + "manifest-checksum", ""}})),
                    ErrorCode::kInvalidArgument, "digest");
}

TEST(AnnotationsTest, BadPositionsAreRefused) {
  for (const char* text : {"", ":", "2000:300:900", "2000:300:900:1:", "2000:300:900:1 ", "a:1:1:1",
                           "-1:300:900:1", "2000::900:1", "99999999999999999999:1:1:1"}) {
    FLOE_EXPECT_ERROR(ParseTocAnnotations(Layer({{kNew + "manifest-position", text}})),
                      ErrorCode::kInvalidArgument, "annotated position");
  }
  for (const char* text : {"9000:1001:1:1", "10000:1:1:1", "8:1:1:1", "0:1:1:1", "2000:0:1:1",
                           "18446744073709551615:2:1:1"}) {
    FLOE_EXPECT_ERROR(ParseTocAnnotations(Layer({{kNew + "manifest-position", text}})),
                      ErrorCode::kDataLoss, "is said to be");
  }
  FLOE_EXPECT_ERROR(ParseTocAnnotations(Layer({{kNew + "manifest-position", "2000:300:900:2"}})),
                    ErrorCode::kUnimplemented, "type 2");
  FLOE_EXPECT_ERROR(
      ParseTocAnnotations(Layer({{kNew + "manifest-position", "2000:300:157286401:1"}})),
      ErrorCode::kResourceExhausted, "at most");
}

}  // namespace
}  // namespace floe::image
