#include "image/tar_reader.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/file.h"
#include "image/layer_index.h"
#include "tests/image/tar_support.h"
#include "tests/support/result_matchers.h"

namespace floe::image {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

class EntryList final : public TarEntrySink {
 public:
  Result<void> OnEntry(const TarEntry& entry) override {
    entries.push_back(entry);
    return Ok();
  }
  std::vector<TarEntry> entries;
};

std::span<const std::byte> Bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

Result<std::vector<TarEntry>> Read(std::string_view archive, size_t step = SIZE_MAX) {
  EntryList list;
  TarReader reader(list);
  for (size_t at = 0; at < archive.size(); at += std::min(step, archive.size() - at)) {
    FLOE_RETURN_IF_ERROR(reader.Feed(Bytes(archive.substr(at, step))));
  }
  FLOE_RETURN_IF_ERROR(reader.Finish());
  return std::move(list.entries);
}

/// The only entry of an archive.
Result<TarEntry> ReadOne(const TarArchive& archive) {
  FLOE_ASSIGN_OR_RETURN(std::vector<TarEntry> entries, Read(archive.bytes()));
  if (entries.size() != 1) {
    return Internal("{} entries", entries.size());
  }
  return std::move(entries.front());
}

std::vector<uint64_t> Flat(const std::vector<TarFragment>& data) {
  std::vector<uint64_t> flat;
  for (const TarFragment& fragment : data) {
    flat.insert(flat.end(), {fragment.file_offset, fragment.archive_offset, fragment.length});
  }
  return flat;
}

std::vector<std::string> Names(const std::vector<TarEntry>& entries) {
  std::vector<std::string> names;
  for (const TarEntry& entry : entries) {
    names.push_back(std::string(1, entry.type) + " " + entry.name);
  }
  return names;
}

TEST(TarReaderTest, ReadsTheFieldsOfAUstarHeader) {
  TarArchive archive;
  archive.Add("dev/null", "",
              {.type = '3',
               .mode = 0666,
               .uid = 7,
               .gid = 8,
               .mtime = 12345,
               .dev_major = 1,
               .dev_minor = 3});
  FLOE_ASSERT_OK_AND_ASSIGN(const TarEntry entry, ReadOne(archive.End()));
  EXPECT_EQ(entry.type, '3');
  EXPECT_EQ(entry.name, "dev/null");
  EXPECT_EQ(entry.mode, 0666);
  EXPECT_EQ(entry.uid, 7);
  EXPECT_EQ(entry.gid, 8);
  EXPECT_EQ(entry.mtime_seconds, 12345);
  EXPECT_EQ(entry.dev_major, 1);
  EXPECT_EQ(entry.dev_minor, 3);
}

TEST(TarReaderTest, SaysWhereContentLies) {
  TarArchive archive;
  archive.File("a", std::string(700, 'a')).File("empty").File("b", "b").End();
  FLOE_ASSERT_OK_AND_ASSIGN(const auto entries, Read(archive.bytes()));
  ASSERT_THAT(entries, SizeIs(3));
  EXPECT_THAT(Flat(entries[0].data), ElementsAre(0, 512, 700));
  EXPECT_THAT(entries[1].data, IsEmpty());
  EXPECT_THAT(Flat(entries[2].data), ElementsAre(0, 512 + 1024 + 512 + 512, 1));
}

TEST(TarReaderTest, DoesNotCareHowBytesAreSplit) {
  TarArchive archive;
  archive.Add("x", std::string(1000, 'x'), {.pax = {{"path", "long"}, {"mtime", "5.25"}}});
  archive.Special('L', "gnu name").File("y", "y").Directory("d").End();
  FLOE_ASSERT_OK_AND_ASSIGN(const auto whole, Read(archive.bytes()));
  for (size_t step : {1, 7, 511, 512, 513, 2000}) {
    FLOE_ASSERT_OK_AND_ASSIGN(const auto split, Read(archive.bytes(), step));
    EXPECT_EQ(Names(split), Names(whole)) << step;
    EXPECT_EQ(Flat(split[0].data), Flat(whole[0].data)) << step;
    EXPECT_EQ(Flat(split[1].data), Flat(whole[1].data)) << step;
  }
}

TEST(TarReaderTest, JoinsTheUstarPrefix) {
  std::string block = HeaderBlock("name", 0, {});
  block.replace(345, 6, "prefix");
  SetChecksum(block);
  FLOE_ASSERT_OK_AND_ASSIGN(const TarEntry entry, ReadOne(TarArchive().Raw(block).End()));
  EXPECT_EQ(entry.name, "prefix/name");
}

TEST(TarReaderTest, JoinsTheShorterPrefixOfStar) {
  std::string block = HeaderBlock("name", 0, {});
  block.replace(345, 131, std::string(131, 'p'));
  block.replace(476, 12, "00000000001 ");
  block.replace(488, 12, "00000000001 ");
  block.replace(508, 4, std::string_view("tar\0", 4));
  SetChecksum(block);
  FLOE_ASSERT_OK_AND_ASSIGN(const TarEntry entry, ReadOne(TarArchive().Raw(block).End()));
  EXPECT_EQ(entry.name, std::string(131, 'p') + "/name");
}

TEST(TarReaderTest, TakesGnuTimesForTimesAndNotForAPrefix) {
  const TarArchive::Options gnu = {.magic = std::string_view("ustar  \0", 8)};
  std::string block = HeaderBlock("name", 0, gnu);
  block.replace(345, 12, std::string_view("14322540000\0", 12));
  SetChecksum(block);
  FLOE_ASSERT_OK_AND_ASSIGN(TarEntry entry, ReadOne(TarArchive().Raw(block).End()));
  EXPECT_EQ(entry.name, "name");

  block.replace(345, 12, "really/a/dir");  // As Go before 1.8 wrote it.
  SetChecksum(block);
  FLOE_ASSERT_OK_AND_ASSIGN(entry, ReadOne(TarArchive().Raw(block).End()));
  EXPECT_EQ(entry.name, "really/a/dir/name");
}

TEST(TarReaderTest, ReadsV7HeadersWithoutDevices) {
  std::string block = HeaderBlock("old", 0, {.magic = ""});
  block.replace(329, 16, "not numbers here");
  SetChecksum(block);
  FLOE_ASSERT_OK_AND_ASSIGN(const TarEntry entry, ReadOne(TarArchive().Raw(block).End()));
  EXPECT_EQ(entry.name, "old");
}

TEST(TarReaderTest, NormalisesTheTypesOfRegularFiles) {
  TarArchive archive;
  archive.Add("v7", "1", {.type = '\0'}).Add("v7dir/", "", {.type = '\0'});
  archive.Add("contiguous", "2", {.type = '7'}).Add("slash/", "3", {.type = '0'}).End();
  FLOE_ASSERT_OK_AND_ASSIGN(const auto entries, Read(archive.bytes()));
  EXPECT_THAT(Names(entries), ElementsAre("0 v7", "5 v7dir/", "0 contiguous", "0 slash/"));
}

TEST(TarReaderTest, TakesBothKindsOfChecksum) {
  std::string block = HeaderBlock("\xff\xfe name", 0, {});
  FLOE_EXPECT_OK(Read(block));
  SetChecksum(block, true);
  FLOE_EXPECT_OK(Read(block));
  block[0] ^= 1;
  FLOE_EXPECT_ERROR(Read(block), ErrorCode::kInvalidArgument,
                    "tar header at offset 0: not a tar header");
}

TEST(TarReaderTest, ReadsBase256Numbers) {
  TarArchive archive;
  archive.Add("f", "", {.uid = 4000000000, .gid = -2, .mtime = -86400});
  FLOE_ASSERT_OK_AND_ASSIGN(const TarEntry entry, ReadOne(archive.End()));
  EXPECT_EQ(entry.uid, 4000000000);
  EXPECT_EQ(entry.gid, -2);
  EXPECT_EQ(entry.mtime_seconds, -86400);
}

TEST(TarReaderTest, RefusesNumbersThatAreNone) {
  std::string block = HeaderBlock("f", 0, {});
  block.replace(124, 3, "12x");
  SetChecksum(block);
  FLOE_EXPECT_ERROR(Read(block), ErrorCode::kInvalidArgument, "the size in the header");
  block.replace(124, 12, std::string("\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"));
  SetChecksum(block);
  FLOE_EXPECT_ERROR(Read(block), ErrorCode::kInvalidArgument, "the size in the header");
}

TEST(TarReaderTest, RefusesAbsurdSizes) {
  FLOE_EXPECT_ERROR(Read(HeaderBlock("f", 9ULL << 40U, {})), ErrorCode::kInvalidArgument,
                    "'f': absurd size 9895604649984");
  FLOE_EXPECT_ERROR(Read(HeaderBlock("f", static_cast<uint64_t>(-512), {})),
                    ErrorCode::kInvalidArgument, "absurd size -512");
  TarArchive archive;
  archive.Add("f", "", {.pax = {{"size", "9223372036854775807"}}});
  FLOE_EXPECT_ERROR(Read(archive.bytes()), ErrorCode::kInvalidArgument, "absurd size");
}

TEST(TarReaderTest, IgnoresTheSizeOfWhatHasNoContent) {
  TarArchive archive;
  archive.Add("d", "", {.type = '5', .size = 4096}).File("f", "f").End();
  FLOE_ASSERT_OK_AND_ASSIGN(const auto entries, Read(archive.bytes()));
  EXPECT_THAT(Names(entries), ElementsAre("5 d", "0 f"));
}

TEST(TarReaderTest, TakesGnuLongNamesAndLinks) {
  const std::string name(300, 'n');
  const std::string target(400, 't');
  TarArchive archive;
  archive.Special('K', target + '\0').Special('L', name + '\0').Symlink("short", "cut");
  archive.File("next").End();
  FLOE_ASSERT_OK_AND_ASSIGN(const auto entries, Read(archive.bytes()));
  ASSERT_THAT(entries, SizeIs(2));
  EXPECT_EQ(entries[0].name, name);
  EXPECT_EQ(entries[0].link_name, target);
  EXPECT_EQ(entries[1].name, "next");
}

TEST(TarReaderTest, AppliesPaxRecordsToTheNextEntryOnly) {
  TarArchive archive;
  archive.Add("short", "0123456789",
              {.pax = {{"path", "p\xc3\xa4th"},
                       {"uid", "70000"},
                       {"gid", "4294967293"},
                       {"size", "10"},
                       {"mtime", "1700000000.987654321"}},
               .size = 3});
  archive.Add("link", "", {.type = '2', .pax = {{"linkpath", "target"}}});
  archive.File("plain", "x").End();
  FLOE_ASSERT_OK_AND_ASSIGN(const auto entries, Read(archive.bytes()));
  ASSERT_THAT(entries, SizeIs(3));
  EXPECT_EQ(entries[0].name, "p\xc3\xa4th");
  EXPECT_EQ(entries[0].uid, 70000);
  EXPECT_EQ(entries[0].gid, 4294967293);
  EXPECT_EQ(entries[0].size_bytes, 10U);
  EXPECT_EQ(entries[0].mtime_seconds, 1700000000);
  EXPECT_EQ(entries[0].mtime_nanoseconds, 987654321U);
  EXPECT_EQ(entries[1].link_name, "target");
  EXPECT_EQ(entries[2].name, "plain");
  EXPECT_EQ(entries[2].uid, 0);
}

TEST(TarReaderTest, KeepsBinaryXattrValues) {
  const std::string value("\0=\n\xff", 4);
  TarArchive archive;
  archive.Add("f", "",
              {.pax = {{"SCHILY.xattr.user.b", value},
                       {"SCHILY.xattr.user.a", ""},
                       {"SCHILY.xattr.user.b", value + value},
                       {"SCHILY.xattrs.user.c", "other keyword"},
                       {"LIBARCHIVE.xattr.user.d", "YQ=="}}});
  FLOE_ASSERT_OK_AND_ASSIGN(const TarEntry entry, ReadOne(archive.End()));
  EXPECT_THAT(entry.xattrs, ElementsAre(Pair("user.a", ""), Pair("user.b", value + value)));
}

TEST(TarReaderTest, ReadsNegativeTimes) {
  TarArchive archive;
  archive.Add("f", "", {.pax = {{"mtime", "-1.25"}}});
  FLOE_ASSERT_OK_AND_ASSIGN(const TarEntry entry, ReadOne(archive.End()));
  EXPECT_EQ(entry.mtime_seconds, -2);
  EXPECT_EQ(entry.mtime_nanoseconds, 750000000U);
}

TEST(TarReaderTest, CutsTimesToNanoseconds) {
  TarArchive archive;
  archive.Add("f", "", {.pax = {{"mtime", "1.12345678999"}}});
  FLOE_ASSERT_OK_AND_ASSIGN(const TarEntry entry, ReadOne(archive.End()));
  EXPECT_EQ(entry.mtime_nanoseconds, 123456789U);
}

TEST(TarReaderTest, DeliversGlobalHeadersAndForgetsTheirRecords) {
  TarArchive archive;
  archive.Special('x', PaxRecord("path", "lost")).Special('g', PaxRecord("uid", "5"));
  archive.File("f").End();
  FLOE_ASSERT_OK_AND_ASSIGN(const auto entries, Read(archive.bytes()));
  EXPECT_THAT(Names(entries), ElementsAre("g pax_header", "0 f"));
  EXPECT_EQ(entries[1].uid, 0);
}

TEST(TarReaderTest, RefusesMalformedPaxRecords) {
  for (const std::string& records :
       {std::string("9 a=b\n"), std::string("6 a=b.\n"), std::string("x a=b\n"),
        std::string("5 =b\n"), std::string("6 abc\n"), std::string("-6 a=b\n"),
        std::string("2 a=b\n"), std::string("99999999999999999999 a=b\n"),
        PaxRecord("path", std::string("a\0b", 3)), PaxRecord(std::string("a\0b", 3), "v"),
        PaxRecord("uid", "1x"), PaxRecord("mtime", "1.2x"), PaxRecord("mtime", ".5"),
        PaxRecord("atime", "now"), PaxRecord("size", "--1")}) {
    EXPECT_FALSE(Read(TarArchive().Special('x', records).File("f").bytes()).has_value())
        << ::testing::PrintToString(records);
  }
}

TEST(TarReaderTest, BoundsTheExtendedHeaders) {
  FLOE_EXPECT_ERROR(Read(HeaderBlock("x", (1U << 20U) + 1, {.type = 'x'})),
                    ErrorCode::kInvalidArgument, "absurd size 1048577");
}

TEST(TarReaderTest, EndsAtTwoZeroBlocksWhateverFollows) {
  TarArchive archive;
  archive.File("f").End().Raw(std::string(100, 'j'));
  FLOE_ASSERT_OK_AND_ASSIGN(const auto entries, Read(archive.bytes()));
  EXPECT_THAT(entries, SizeIs(1));
}

TEST(TarReaderTest, EndsWhereTheBytesEndBetweenEntries) {
  FLOE_EXPECT_OK(Read(""));
  FLOE_EXPECT_OK(Read(std::string(512, '\0')));
  TarArchive archive;
  archive.File("f", "content");
  FLOE_EXPECT_OK(Read(archive.bytes()));
  // The padding of the last file may be missing as well.
  FLOE_EXPECT_OK(Read(archive.bytes().substr(0, 512 + 7)));
  FLOE_EXPECT_OK(Read(TarArchive().Special('x', PaxRecord("path", "p")).bytes()));
}

TEST(TarReaderTest, RefusesAnArchiveThatIsCutOff) {
  TarArchive archive;
  archive.Add("f", "content", {.pax = {{"path", "p"}}});
  for (size_t size : {100U, 512U, 515U, 1024U + 511U, 1536U, 1536U + 6U}) {
    FLOE_EXPECT_ERROR(Read(archive.bytes().substr(0, size)), ErrorCode::kInvalidArgument,
                      "cut off at offset " + std::to_string(size));
  }
  FLOE_EXPECT_ERROR(Read(std::string(700, '\0')), ErrorCode::kInvalidArgument, "cut off");
}

TEST(TarReaderTest, RefusesALoneZeroBlock) {
  TarArchive archive;
  archive.Raw(std::string(512, '\0')).File("f");
  FLOE_EXPECT_ERROR(Read(archive.bytes()), ErrorCode::kInvalidArgument, "lone zero block");
}

TEST(TarReaderTest, RefusesOldGnuSparseFiles) {
  TarArchive archive;
  archive.Add("holes", "", {.type = 'S'});
  FLOE_EXPECT_ERROR(Read(archive.bytes()), ErrorCode::kInvalidArgument,
                    "'holes': unhandled tar header type 83");
}

TEST(TarReaderTest, PassesUnknownTypesOn) {
  TarArchive archive;
  archive.Add("label", "some content", {.type = 'V'}).File("f").End();
  FLOE_ASSERT_OK_AND_ASSIGN(const auto entries, Read(archive.bytes()));
  EXPECT_THAT(Names(entries), ElementsAre("V label", "0 f"));
}

TEST(TarReaderTest, EscapesNamesInErrors) {
  TarArchive archive;
  archive.Add("new\nline", "", {.type = 'S'});
  FLOE_EXPECT_ERROR(Read(archive.bytes()), ErrorCode::kInvalidArgument, "'new\\x0aline'");
}

// Sparse files: "head", a hole up to 2000, "tail", a hole up to 3000.

TEST(TarReaderTest, ReadsSparseFormat00) {
  TarArchive archive;
  archive.Add("f", "headtail",
              {.pax = {{"GNU.sparse.size", "3000"},
                       {"GNU.sparse.numblocks", "2"},
                       {"GNU.sparse.offset", "0"},
                       {"GNU.sparse.numbytes", "4"},
                       {"GNU.sparse.offset", "2000"},
                       {"GNU.sparse.numbytes", "4"}}});
  FLOE_ASSERT_OK_AND_ASSIGN(const TarEntry entry, ReadOne(archive.End()));
  EXPECT_EQ(entry.size_bytes, 3000U);
  EXPECT_THAT(Flat(entry.data), ElementsAre(0, 1536, 4, 2000, 1540, 4));
}

TEST(TarReaderTest, ReadsSparseFormat01) {
  TarArchive archive;
  archive.Add("GNUSparseFile.1/f", "headtail",
              {.pax = {{"GNU.sparse.size", "3000"},
                       {"GNU.sparse.numblocks", "3"},
                       {"GNU.sparse.name", "dir/f"},
                       {"GNU.sparse.map", "0,4,2000,4,3000,0"}}});
  FLOE_ASSERT_OK_AND_ASSIGN(const TarEntry entry, ReadOne(archive.End()));
  EXPECT_EQ(entry.name, "dir/f");
  EXPECT_THAT(Flat(entry.data), ElementsAre(0, 1536, 4, 2000, 1540, 4));
}

std::string Sparse10(const std::string& map, const std::string& data) {
  std::string content = map;
  content.resize((map.size() + 511) / 512 * 512);
  return content + data;
}

TarArchive::Options Sparse10Options(const std::string& size = "3000") {
  return {.pax = {{"GNU.sparse.major", "1"},
                  {"GNU.sparse.minor", "0"},
                  {"GNU.sparse.name", "f"},
                  {"GNU.sparse.realsize", size}}};
}

TEST(TarReaderTest, ReadsSparseFormat10) {
  TarArchive archive;
  archive.Add("GNUSparseFile.1/f", Sparse10("2\n0\n4\n2000\n4\n", "headtail"), Sparse10Options());
  archive.File("next").End();
  for (size_t step : {SIZE_MAX, size_t{3}}) {
    FLOE_ASSERT_OK_AND_ASSIGN(const auto entries, Read(archive.bytes(), step));
    ASSERT_THAT(Names(entries), ElementsAre("0 f", "0 next"));
    EXPECT_EQ(entries[0].size_bytes, 3000U);
    EXPECT_THAT(Flat(entries[0].data), ElementsAre(0, 2048, 4, 2000, 2052, 4));
  }
}

TEST(TarReaderTest, ReadsASparseMapOfManyBlocks) {
  std::string map = "200\n";
  std::string data;
  for (uint32_t i = 0; i < 200; ++i) {
    map += std::to_string(i * 1000) + "\n10\n";
    data += "0123456789";
  }
  TarArchive archive;
  archive.Add("f", Sparse10(map, data), Sparse10Options("200000")).End();
  FLOE_ASSERT_OK_AND_ASSIGN(const TarEntry entry, ReadOne(archive));
  ASSERT_THAT(entry.data, SizeIs(200));
  EXPECT_EQ(entry.data.back().file_offset, 199000U);
  EXPECT_EQ(entry.data.back().archive_offset, 1536 + (map.size() + 511) / 512 * 512 + 1990);
}

TEST(TarReaderTest, ReadsASparseFileWithoutData) {
  TarArchive archive;
  archive.Add("f", Sparse10("0\n", ""), Sparse10Options("2097152")).End();
  FLOE_ASSERT_OK_AND_ASSIGN(const TarEntry entry, ReadOne(archive));
  EXPECT_EQ(entry.size_bytes, 2097152U);
  EXPECT_THAT(entry.data, IsEmpty());
}

TEST(TarReaderTest, TakesUnknownSparseVersionsForPlainFiles) {
  TarArchive archive;
  archive.Add("f", "data", {.pax = {{"GNU.sparse.major", "2"}, {"GNU.sparse.minor", "0"}}}).End();
  FLOE_ASSERT_OK_AND_ASSIGN(const TarEntry entry, ReadOne(archive));
  EXPECT_EQ(entry.size_bytes, 4U);
}

TEST(TarReaderTest, RefusesSparseMapsThatLie) {
  for (const std::string map : {"2\n0\n4\n3\n4\n", "2\n2000\n4\n0\n4\n", "1\n2999\n8\n",
                                "1\n0\n4\n", "1\n0\n9\n", "2\n0\n4\n9223372036854775807\n4\n",
                                "1\n-1\n8\n", "x\n", "1\n0\nx\n", "9999999999\n0\n8\n"}) {
    TarArchive archive;
    archive.Add("f", Sparse10(map, "headtail"), Sparse10Options()).End();
    const auto result = Read(archive.bytes());
    ASSERT_FALSE(result.has_value()) << map;
    EXPECT_EQ(result.error().code, ErrorCode::kInvalidArgument);
  }
}

TEST(TarReaderTest, RefusesSparseRecordsThatLie) {
  const std::pair<std::string, std::string> size = {"GNU.sparse.size", "3000"};
  const std::pair<std::string, std::string> two = {"GNU.sparse.numblocks", "2"};
  const std::vector<TarArchive::Options> lies = {
      {.pax = {size, two, {"GNU.sparse.map", "0,4"}}},
      {.pax = {size, two, {"GNU.sparse.map", "0,4,5"}}},
      {.pax = {size, two, {"GNU.sparse.map", "0,4,2000,4,"}}},
      {.pax = {size, {"GNU.sparse.map", "0,8"}}},
      {.pax = {size, {"GNU.sparse.numbytes", "8"}, {"GNU.sparse.offset", "0"}}},
      {.type = '5', .pax = {size, two, {"GNU.sparse.map", "0,4,2000,4"}}},
      {.pax = {{"GNU.sparse.size", "99999999999999999"}, two, {"GNU.sparse.map", "0,4,9,4"}}},
  };
  for (const TarArchive::Options& options : lies) {
    TarArchive archive;
    archive.Add("f", "headtail", options).End();
    EXPECT_FALSE(Read(archive.bytes()).has_value()) << ::testing::PrintToString(options.pax);
  }
}

TEST(TarReaderTest, RefusesASparseMapPastTheData) {
  TarArchive archive;
  archive.Add("f", "4\n0\n4\n", Sparse10Options());
  FLOE_EXPECT_ERROR(Read(archive.bytes()), ErrorCode::kInvalidArgument, "passes the end");
}

class FixtureTar : public ::testing::TestWithParam<const char*> {};

TEST_P(FixtureTar, IsReadWhole) {
  const std::string path = std::string(FLOE_SOURCE_DIR "/../shared/fixtures/tar/") + GetParam();
  const Result<std::string> bytes = ReadFile(path);
  if (!bytes.has_value()) {
    GTEST_SKIP() << bytes.error().message;
  }
  FLOE_ASSERT_OK_AND_ASSIGN(const auto entries, Read(*bytes, 1000));
  EXPECT_THAT(Names(entries), ::testing::Contains("5 tar/dir1/dir3/"));
  EXPECT_THAT(Names(entries), ::testing::Contains("2 tar/dir2/symlink1.txt"));
  EXPECT_THAT(Names(entries), ::testing::Contains("1 tar/dir2/hardlink3.txt"));
}

INSTANTIATE_TEST_SUITE_P(TarReaderTest, FixtureTar,
                         ::testing::Values("all-entry-type.tar", "all-entry-type-macos.tar"));

}  // namespace
}  // namespace floe::image
