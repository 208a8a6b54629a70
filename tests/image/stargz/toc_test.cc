#include "image/stargz/toc.h"

#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "base/digest.h"
#include "tests/support/result_matchers.h"

namespace floe::image {
namespace {

const std::string kDigest = Digest::Of("x").ToString();
const std::string kOther = Digest::Of("y").ToString();

Result<Toc> Parse(const std::string& entries, bool allow_unverified = false) {
  return ParseToc(R"({"version":1,"entries":[)" + entries + "]}",
                  {.payload_end = 1000, .allow_unverified = allow_unverified});
}
/// A file of 10 bytes in one chunk, with these members added (or replaced: the last one counts).
std::string File(const std::string& more = "") {
  return R"({"name":"f","type":"reg","size":10,"offset":100,"chunkDigest":")" + kDigest + "\"" +
         (more.empty() ? "" : "," + more) + "}";
}
std::string Chunk(const std::string& members) {
  return R"({"type":"chunk","offset":300,"chunkDigest":")" + kDigest + "\"," + members + "}";
}

TEST(TocTest, HeadersAreTaken) {
  FLOE_ASSERT_OK_AND_ASSIGN(
      const Toc toc,
      Parse(
          R"({"name":"d/","type":"dir","mode":493,"uid":1,"gid":2,"userName":"u","groupName":"g",)"
          R"("modtime":"1970-01-01T00:01:00.5Z","accesstime":null,"xattrs":{"user.b":"MQ==",)"
          R"("user.a":""}},{"name":"c","type":"char","devMajor":5,"devMinor":6,"modtime":null},)"
          R"({"name":"l","type":"symlink","linkName":"t"},{"name":"","type":"dir"},)"
          R"({"name":"h","type":"hardlink","linkName":"l"},{"name":"p","type":"fifo"},)"
          R"({"name":"b","type":"block","more":[{"x":[1.5,true,null]}]})"));
  ASSERT_EQ(toc.entries.size(), 7U);
  const TarEntry& directory = toc.entries[0].header;
  EXPECT_EQ(directory.name, "d/");
  EXPECT_EQ(directory.type, '5');
  EXPECT_EQ(directory.mode, 0755);
  EXPECT_EQ(directory.uid, 1);
  EXPECT_EQ(directory.gid, 2);
  EXPECT_EQ(directory.mtime_seconds, 60);
  EXPECT_EQ(directory.mtime_nanoseconds, 500000000U);
  ASSERT_EQ(directory.xattrs.size(), 2U);
  EXPECT_EQ(directory.xattrs[0], std::pair(std::string("user.a"), std::string()));
  EXPECT_EQ(directory.xattrs[1], std::pair(std::string("user.b"), std::string("1")));
  EXPECT_EQ(toc.entries[1].header.type, '3');
  EXPECT_EQ(toc.entries[1].header.dev_major, 5);
  EXPECT_EQ(toc.entries[1].header.dev_minor, 6);
  EXPECT_EQ(toc.entries[2].header.link_name, "t");
  EXPECT_EQ(toc.entries[3].header.name, ".");
  EXPECT_EQ(toc.entries[4].header.type, '1');
  EXPECT_EQ(toc.entries[5].header.type, '6');
  EXPECT_EQ(toc.entries[6].header.type, '4');
  EXPECT_TRUE(toc.chunks.empty());
}

TEST(TocTest, NoEntriesAreAnEmptyLayer) {
  FLOE_EXPECT_OK(Parse(""));
  FLOE_EXPECT_OK(ParseToc(R"({"version":1,"entries":null,"tarSplitDigest":"x"})", {}));
}

TEST(TocTest, OneChunkIsTheWholeFile) {
  FLOE_ASSERT_OK_AND_ASSIGN(const Toc toc, Parse(File(R"("innerOffset":512)")));
  ASSERT_EQ(toc.chunks.size(), 1U);
  EXPECT_EQ(toc.chunks[0].length, 10U);
  EXPECT_EQ(toc.chunks[0].offset, 100U);
  EXPECT_EQ(toc.chunks[0].inner_offset, 512U);
  EXPECT_EQ(toc.chunks[0].end_offset, 1000U);
  EXPECT_EQ(Digest(toc.chunks[0].digest), Digest::Of("x"));
}

TEST(TocTest, ChunksFollowEachOther) {
  FLOE_ASSERT_OK_AND_ASSIGN(
      const Toc toc, Parse(File(R"("chunkSize":4,"endOffset":400)") + "," +
                           Chunk(R"("name":"f","chunkOffset":4,"chunkSize":5,"offset":200)") + "," +
                           Chunk(R"("chunkOffset":9)")));
  ASSERT_EQ(toc.chunks.size(), 3U);
  EXPECT_EQ(toc.chunks[1].file_offset, 4U);
  EXPECT_EQ(toc.chunks[1].length, 5U);
  EXPECT_EQ(toc.chunks[2].file_offset, 9U);
  EXPECT_EQ(toc.chunks[2].length, 1U);
  EXPECT_EQ(toc.chunks[2].end_offset, 400U);
}

TEST(TocTest, ZerosAreHoles) {
  FLOE_ASSERT_OK_AND_ASSIGN(
      const Toc toc,
      Parse(File(R"("chunkSize":4,"chunkType":"zeros")") + "," +
            Chunk(R"("chunkOffset":4,"chunkSize":5)") + "," +
            R"({"type":"chunk","chunkOffset":9,"chunkSize":1,"chunkType":"zeros","offset":9999})"));
  ASSERT_EQ(toc.chunks.size(), 1U);
  EXPECT_EQ(toc.chunks[0].file_offset, 4U);
  FLOE_EXPECT_ERROR(Parse(File(R"("chunkType":"ones")")), ErrorCode::kInvalidArgument, "'ones'");
}

TEST(TocTest, ChunksMustTileTheirFile) {
  const std::pair<std::string, std::string> wrong[] = {
      {File(R"("chunkSize":11)"), "10 bytes are told"},
      {File(R"("chunkSize":4)"), "hold 4 of 10"},
      {File(R"("chunkOffset":1)"), "at 1"},
      {File() + "," + Chunk(R"("chunkOffset":10)"), "a chunk of 0 bytes at 10"},
      {File(R"("chunkSize":4)") + "," + Chunk(R"("chunkOffset":5)"), "at 5"},
      {File(R"("chunkSize":4)") + "," + Chunk(R"("chunkOffset":3)"), "at 3"},
      {File(R"("chunkSize":4)") + "," + Chunk(R"("chunkOffset":4,"chunkSize":7)"), "7 bytes at 4"},
      {File(R"("size":0)") + "," + Chunk(R"("chunkOffset":0,"chunkSize":1)"), "0 of 0"}};
  for (const auto& [entries, text] : wrong) {
    FLOE_EXPECT_ERROR(Parse(entries), ErrorCode::kDataLoss, text);
  }
  FLOE_EXPECT_ERROR(Parse(Chunk(R"("chunkOffset":0)")), ErrorCode::kInvalidArgument, "no file");
  FLOE_EXPECT_ERROR(Parse(R"({"name":"d","type":"dir"},)" + Chunk(R"("chunkOffset":0)")),
                    ErrorCode::kInvalidArgument, "entry 1 '': a chunk of no file");
}

TEST(TocTest, PlacesMustLieInTheData) {
  for (const char* members : {R"("offset":0)", R"("offset":1000)", R"("offset":-5)",
                              R"("innerOffset":-1)", R"("endOffset":100)", R"("endOffset":1001)"}) {
    FLOE_EXPECT_ERROR(Parse(File(members)), ErrorCode::kDataLoss, "table of contents: ");
  }
  FLOE_EXPECT_ERROR(Parse(File(R"("endOffset":-1)")), ErrorCode::kInvalidArgument, "endOffset");
  FLOE_EXPECT_ERROR(Parse(File(R"("chunkOffset":-1)")), ErrorCode::kInvalidArgument, "at -1");
  FLOE_EXPECT_ERROR(Parse(File(R"("size":-1)")), ErrorCode::kInvalidArgument, "size of -1");
  FLOE_EXPECT_ERROR(Parse(File(R"("size":9223372036854775807)")), ErrorCode::kInvalidArgument,
                    "a size of");
}

TEST(TocTest, LargeChunksAreNotSupported) {
  FLOE_EXPECT_ERROR(Parse(File(R"("size":67108865)")), ErrorCode::kUnimplemented, "at most");
  FLOE_EXPECT_ERROR(Parse(File(R"("innerOffset":9223372036854775807)")), ErrorCode::kUnimplemented,
                    "at most");
}

TEST(TocTest, TheDigestOfAFileIsThatOfItsOnlyChunk) {
  FLOE_ASSERT_OK_AND_ASSIGN(const Toc toc,
                            Parse(File(R"("chunkDigest":"","digest":")" + kDigest + "\"")));
  EXPECT_EQ(toc.chunks[0].digest_kind, DigestKind::kSha256);
  EXPECT_EQ(Digest(toc.chunks[0].digest), Digest::Of("x"));
  FLOE_EXPECT_ERROR(Parse(File(R"("digest":")" + kOther + "\"")), ErrorCode::kDataLoss,
                    "not that of its only chunk");
  FLOE_EXPECT_ERROR(Parse(File(R"("chunkSize":4,"chunkDigest":"","digest":")" + kDigest + "\"") +
                          "," + Chunk(R"("chunkOffset":4)")),
                    ErrorCode::kFailedPrecondition, "chunk digests are missing");
}

TEST(TocTest, MissingDigestsAreRefusedUnlessAllowed) {
  const std::string file = File(R"("chunkDigest":"")");
  FLOE_EXPECT_ERROR(Parse(file), ErrorCode::kFailedPrecondition, "chunk digests are missing");
  FLOE_ASSERT_OK_AND_ASSIGN(const Toc toc, Parse(file, /*allow_unverified=*/true));
  EXPECT_EQ(toc.chunks[0].digest_kind, DigestKind::kNone);
  EXPECT_EQ(toc.chunks[0].digest, Sha256{});
}

TEST(TocTest, BadValuesAreRefused) {
  const std::pair<std::string, std::string> wrong[] = {
      {R"({"name":"x","type":"regular"})", "unknown type 'regular'"},
      {R"({"name":"x"})", "unknown type ''"},
      {R"({"type":"reg"})", "no name"},
      {R"({"name":"x","type":"dir","modtime":"yesterday"})", "modtime: not a time: 'yesterday'"},
      {R"({"name":"x","type":"dir","xattrs":{"user.a":"?"}})", "no base64"},
      {File(R"("chunkDigest":"md5:00")"), "'md5:00' is no sha256 digest"},
      {File(R"("digest":"sha256:00")"), "is no sha256 digest"},
      {R"({"name":5})", "'name' has a value of the wrong type"},
      {R"({"size":"5"})", "'size' has a value of the wrong type"},
      {R"({"size":5.5})", "'size' has a value of the wrong type"},
      {R"({"size":9223372036854775808})", "'size' has a value of the wrong type"},
      {R"({"size":{}})", "'size' has a value of the wrong type"},
      {R"({"name":["x"]})", "'name' has a value of the wrong type"},
      {R"({"xattrs":["x"]})", "'xattrs' has a value of the wrong type"},
      {R"({"xattrs":"x"})", "'xattrs' has a value of the wrong type"},
      {R"({"xattrs":{"a":1}})", "'a' has a value of the wrong type"},
      {R"({"xattrs":{"a":{}}})", "'a' has a value of the wrong type"},
      {"5", "entry 0 is not an object"},
      {"null", "entry 0 is not an object"},
      {"[]", "entry 0 is not an object"}};
  for (const auto& [entries, text] : wrong) {
    FLOE_EXPECT_ERROR(Parse(entries), ErrorCode::kInvalidArgument, text);
  }
}

TEST(TocTest, BadDocumentsAreRefused) {
  const std::pair<std::string, std::string> wrong[] = {
      {"", "no JSON"},
      {"[]", "the document is not an object"},
      {"7", "the document is not an object"},
      {"null", "the document is not an object"},
      {"{}", "without entries"},
      {R"({"entries":{}})", "entries is of the wrong type"},
      {R"({"entries":7})", "entries is of the wrong type"},
      {R"({"version":"1","entries":[]})", "version is of the wrong type"},
      {R"({"entries":[],"entries":[]})", "entries twice"},
      {R"({"entries":[]} x)", "no JSON"},
      {R"({"entries":[)", "no JSON"},
      {"{\"entries\":[{\"name\":\"\xff\"}]}", "no JSON"},
      {R"({"entries":[{"x":[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]}]})", "nested too deeply"}};
  for (const auto& [json, text] : wrong) {
    FLOE_EXPECT_ERROR(ParseToc(json, {}), ErrorCode::kInvalidArgument, text);
  }
  FLOE_EXPECT_ERROR(ParseToc(R"({"version":2,"entries":[]})", {}), ErrorCode::kUnimplemented,
                    "version 2");
}

TEST(TocTest, DeepNestingTakesNoStack) {
  FLOE_EXPECT_ERROR(ParseToc(R"({"x":)" + std::string(10U << 20U, '['), {}),
                    ErrorCode::kInvalidArgument, "nested too deeply");
}

}  // namespace
}  // namespace floe::image
