#include "image/layer_builder.h"

#include <algorithm>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/image/tar_support.h"
#include "tests/support/result_matchers.h"

namespace floe::image {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr std::string_view kRoot = ". dir 755 0:0 0 implied";

/// The lines of Describe without the root's.
std::vector<std::string> Tree(const TarArchive& archive) {
  const Result<LayerIndexData> data = BuildLayer(archive);
  if (!data.has_value()) {
    return {data.error().ToString()};
  }
  std::vector<std::string> lines = Describe(*data);
  lines.erase(lines.begin());
  return lines;
}

std::string File(std::string_view path, uint64_t size) {
  return fmt::format("{} file 644 0:0 1700000000 size={}", path, size);
}
std::string Dir(std::string_view path) { return fmt::format("{} dir 755 0:0 1700000000", path); }
std::string Implied(std::string_view path) { return fmt::format("{} dir 755 0:0 0 implied", path); }

void ExpectRefused(const TarArchive& archive, std::string_view reason) {
  FLOE_EXPECT_ERROR(BuildLayer(archive), ErrorCode::kInvalidArgument, std::string(reason));
}

TEST(LayerBuilderTest, AnEmptyArchiveIsAnImpliedRoot) {
  FLOE_ASSERT_OK_AND_ASSIGN(const LayerIndexData data, BuildLayer(TarArchive().End()));
  EXPECT_THAT(Describe(data), ElementsAre(kRoot));
  ASSERT_THAT(data.blobs, SizeIs(1));
  EXPECT_EQ(data.blobs[0].device_size_bytes, 0U);
  EXPECT_THAT(data.units, IsEmpty());
}

TEST(LayerBuilderTest, CleansNames) {
  TarArchive archive;
  archive.File("./dot//double/./slash", "1").File("/absolute", "22").File("a/../b", "333");
  archive.Directory("trailing///").File("/../clamped", "4444");
  EXPECT_THAT(Tree(archive),
              ElementsAre(File("absolute", 2), File("b", 3), File("clamped", 4), Implied("dot"),
                          Implied("dot/double"), File("dot/double/slash", 1), Dir("trailing")));
}

TEST(LayerBuilderTest, SkipsTheRootItself) {
  TarArchive archive;
  archive.Directory("./", 0700).Directory("/", 0700).Directory("a/..", 0700).Symlink(".", "x");
  EXPECT_THAT(Tree(archive), IsEmpty());
}

TEST(LayerBuilderTest, RefusesPathTraversal) {
  for (const char* name : {"..", "../etc/passwd", "a/../../etc/passwd", "./../x"}) {
    ExpectRefused(TarArchive().File(name), "path traversal");
    ExpectRefused(TarArchive().File(name), name);
  }
}

TEST(LayerBuilderTest, RefusesNamesThatCannotBe) {
  ExpectRefused(TarArchive().File(""), "not a valid name");
  TarArchive nul;
  nul.Add("f", "",
          {.pax = {{"GNU.sparse.major", "0"},
                   {"GNU.sparse.minor", "1"},
                   {"GNU.sparse.numblocks", "0"},
                   {"GNU.sparse.name", std::string("a\0b", 3)}}});
  ExpectRefused(nul, "not a valid name");
  const auto with_name = [](const std::string& name) {
    return TarArchive().Add("f", "", {.pax = {{"path", name}}});
  };
  EXPECT_THAT(Tree(with_name(std::string(255, 'n'))), SizeIs(1));
  ExpectRefused(with_name(std::string(256, 'n')), "more than 255 bytes");
  ExpectRefused(with_name(std::string(256, 'n') + "/below"), "more than 255 bytes");
  ExpectRefused(with_name(std::string(5000, '/') + "n"), "not a valid name");
}

TEST(LayerBuilderTest, ExplicitDirectoriesTakeOverImpliedOnes) {
  TarArchive archive;
  archive.File("a/b/f").Directory("a", 0700);
  EXPECT_THAT(Tree(archive),
              ElementsAre("a dir 700 0:0 1700000000", Implied("a/b"), File("a/b/f", 0)));
}

TEST(LayerBuilderTest, SetGroupIdDirectoriesPassTheirGroupOn) {
  TarArchive archive;
  archive.Add("shared", "", {.type = '5', .mode = 02775, .gid = 50}).File("shared/new/f");
  archive.Add("shared/g", "", {.gid = -1});
  EXPECT_THAT(Tree(archive), Contains("shared/new dir 755 0:50 0 implied"));
  EXPECT_THAT(Tree(archive), Contains("shared/g file 644 0:50 1700000000 size=0"));
}

TEST(LayerBuilderTest, ParentsGoThroughThisLayersSymlinks) {
  TarArchive archive;
  archive.Directory("usr")
      .Directory("usr/lib")
      .Symlink("lib", "usr/lib")
      .Symlink("up", "../../usr");
  archive.Symlink("usr/abs", "/usr/lib/new").File("lib/f").File("up/g").File("usr/abs/h");
  EXPECT_THAT(Tree(archive), ElementsAre("lib symlink 777 0:0 1700000000 -> usr/lib",
                                         "up symlink 777 0:0 1700000000 -> ../../usr", Dir("usr"),
                                         "usr/abs symlink 777 0:0 1700000000 -> /usr/lib/new",
                                         File("usr/g", 0), Dir("usr/lib"), File("usr/lib/f", 0),
                                         Implied("usr/lib/new"), File("usr/lib/new/h", 0)));
}

TEST(LayerBuilderTest, RefusesSymlinkLoopsInParents) {
  TarArchive archive;
  archive.Symlink("a", "b").Symlink("b", "a").File("a/f");
  ExpectRefused(archive, "too many symlinks");
}

TEST(LayerBuilderTest, RefusesSymlinksThatGrowWithoutEnd) {
  TarArchive archive;
  archive.Symlink("a", "a/" + std::string(90, 'x')).File("a/f");
  ExpectRefused(archive, "too many symlinks");
}

TEST(LayerBuilderTest, RefusesParentsThatAreNoDirectories) {
  ExpectRefused(TarArchive().File("f").File("f/below"), "'f': not a directory");
  ExpectRefused(TarArchive().File("d/.wh.gone").File("d/gone/below"), "'d/gone': not a directory");
  TarArchive fifo;
  fifo.Add("p", "", {.type = '6'}).Symlink("to-p", "p").File("to-p/f");
  ExpectRefused(fifo, "not a directory");
}

TEST(LayerBuilderTest, LaterEntriesReplaceEarlierOnes) {
  TarArchive archive;
  archive.File("f", "one").File("f", "three").Directory("d").File("d/in").File("d", "file");
  archive.Symlink("s", "nowhere").File("s", "x").File("t").Directory("t").Symlink("u", "d");
  archive.Directory("u");
  EXPECT_THAT(Tree(archive),
              ElementsAre(File("d", 4), File("f", 5), File("s", 1), Dir("t"), Dir("u")));
}

TEST(LayerBuilderTest, DirectoriesMergeTheirMetadata) {
  TarArchive archive;
  archive.Add("d", "",
              {.type = '5',
               .mode = 0700,
               .pax = {{"SCHILY.xattr.user.a", "1"}, {"SCHILY.xattr.user.b", "2"}}});
  archive.File("d/in");
  archive.Add(
      "d/", "",
      {.type = '5', .mode = 0711, .uid = 4, .mtime = 5, .pax = {{"SCHILY.xattr.user.b", "3"}}});
  EXPECT_THAT(Tree(archive), ElementsAre("d dir 711 4:0 5 user.a=1 user.b=3", File("d/in", 0)));
}

TEST(LayerBuilderTest, HardLinksShareTheInodeOfThatMoment) {
  TarArchive archive;
  archive.File("a", "first").HardLink("b", "a").File("a", "second!").HardLink("c", "./b");
  archive.HardLink("d", "/b");
  EXPECT_THAT(Tree(archive),
              ElementsAre(File("a", 7), File("b", 5), File("c", 5) + " =b", File("d", 5) + " =b"));
}

TEST(LayerBuilderTest, HardLinksToSymlinksAndFifosWork) {
  TarArchive archive;
  archive.Symlink("s", "gone").HardLink("hs", "s").Add("p", "", {.type = '6'}).HardLink("hp", "p");
  EXPECT_THAT(
      Tree(archive),
      ElementsAre("hp fifo 644 0:0 1700000000", "hs symlink 777 0:0 1700000000 -> gone",
                  "p fifo 644 0:0 1700000000 =hp", "s symlink 777 0:0 1700000000 -> gone =hs"));
}

TEST(LayerBuilderTest, AHardLinksOwnMetadataIsSetOnTheInode) {
  TarArchive archive;
  archive.Add("a", "",
              {.pax = {{"SCHILY.xattr.user.x", "1"}, {"SCHILY.xattr.security.capability", "cap"}}});
  archive.Add("b", "",
              {.type = '1',
               .link_name = "a",
               .mode = 04755,
               .uid = 3,
               .gid = 4,
               .mtime = 9,
               .pax = {{"SCHILY.xattr.user.y", "2"}}});
  EXPECT_THAT(Tree(archive), ElementsAre("a file 4755 3:4 9 size=0 user.x=1 user.y=2",
                                         "b file 4755 3:4 9 size=0 user.x=1 user.y=2 =a"));
}

TEST(LayerBuilderTest, HardLinksResolveTheirParentThroughSymlinks) {
  TarArchive archive;
  archive.File("usr/lib/f").Symlink("lib", "usr/lib").HardLink("g", "lib/f");
  EXPECT_THAT(Tree(archive), Contains(File("usr/lib/f", 0) + " =g"));
}

TEST(LayerBuilderTest, RefusesHardLinksToWhatIsNotThere) {
  ExpectRefused(TarArchive().HardLink("a", "missing"), "hard link to 'missing', which is not");
  ExpectRefused(TarArchive().HardLink("a", "no/dir/f"), "no such directory");
  ExpectRefused(TarArchive().File("f").HardLink("a", "f/x"), "not a directory");
  ExpectRefused(TarArchive().HardLink("a", "b").HardLink("b", "a"), "not in this layer");
  ExpectRefused(TarArchive().File("a").HardLink("a", "a"), "not in this layer");
  ExpectRefused(TarArchive().File("d/a").HardLink("d", "d/a"), "no such directory");
}

TEST(LayerBuilderTest, RefusesHardLinksToDirectories) {
  ExpectRefused(TarArchive().Directory("d").HardLink("a", "d"), "a directory");
  ExpectRefused(TarArchive().HardLink("a", "/"), "the root");
  ExpectRefused(TarArchive().HardLink("a", ""), "the root");
}

TEST(LayerBuilderTest, MarkersBecomeWhiteoutsAndOpaqueDirectories) {
  TarArchive archive;
  archive.File("d/.wh.gone").File("o/.wh..wh..opq").File(".wh.top").File(".wh.top");
  archive.Directory("e").File("e/.wh..wh..opq");
  EXPECT_THAT(Tree(archive), ElementsAre(Implied("d"), "d/gone whiteout", Dir("e") + " opaque",
                                         Implied("o") + " opaque", "top whiteout"));
}

TEST(LayerBuilderTest, TheRootMayBeOpaque) {
  FLOE_ASSERT_OK_AND_ASSIGN(const auto data, BuildLayer(TarArchive().File(".wh..wh..opq")));
  EXPECT_THAT(Describe(data), ElementsAre(std::string(kRoot) + " opaque"));
}

TEST(LayerBuilderTest, AnyTypeOfEntryIsAMarkerByItsName) {
  TarArchive archive;
  archive.Directory(".wh.d").Symlink(".wh.s", "x").Add(".wh.f", "content", {});
  EXPECT_THAT(Tree(archive), ElementsAre("d whiteout", "f whiteout", "s whiteout"));
}

TEST(LayerBuilderTest, AWhiteoutKeepsWhatThisLayerHas) {
  TarArchive archive;
  archive.File("f", "kept").File(".wh.f").Directory("d").File("d/in").File(".wh.d");
  EXPECT_THAT(Tree(archive), ElementsAre(Dir("d") + " opaque", File("d/in", 0), File("f", 4)));
}

TEST(LayerBuilderTest, ALaterEntryReplacesAWhiteoutPlainly) {
  TarArchive archive;
  archive.File(".wh.x").Directory("x").File(".wh.y").File("y");
  EXPECT_THAT(Tree(archive), ElementsAre(Dir("x"), File("y", 0)));
}

TEST(LayerBuilderTest, RefusesWhiteoutsOfNoName) {
  for (const char* name : {".wh.", "d/.wh..", ".wh..."}) {
    ExpectRefused(TarArchive().File(name), "invalid whiteout name");
  }
}

TEST(LayerBuilderTest, AufsNamesFollowTheirBaseName) {
  TarArchive archive;
  archive.File(".wh..wh.plnk/1.2", "aufs")
      .File("aufs/.wh..wh.aufs")
      .HardLink("l", ".wh..wh.plnk/1.2");
  EXPECT_THAT(Tree(archive),
              ElementsAre(Implied(".wh..wh.plnk"), File(".wh..wh.plnk/1.2", 4), Implied("aufs"),
                          "aufs/.wh.aufs whiteout", File("l", 4) + " =.wh..wh.plnk/1.2"));
}

TEST(LayerBuilderTest, DevicesZeroZeroAreWhiteouts) {
  TarArchive archive;
  archive.File("w").Add("w", "", {.type = '3'}).Add("b", "", {.type = '4'});
  archive.HardLink("w2", "w");
  EXPECT_THAT(Tree(archive),
              ElementsAre("b block 644 0:0 1700000000 dev=0:0", "w whiteout", "w2 whiteout"));
}

TEST(LayerBuilderTest, KeepsDeviceNumbers) {
  TarArchive archive;
  archive.Add("null", "", {.type = '3', .mode = 0666, .dev_major = 1, .dev_minor = 3});
  archive.Add("blk", "", {.type = '4', .mode = 0660, .dev_major = 259, .dev_minor = 70000});
  EXPECT_THAT(Tree(archive), ElementsAre("blk block 660 0:0 1700000000 dev=259:70000",
                                         "null char 666 0:0 1700000000 dev=1:3"));
  TarArchive wrong;
  wrong.Add("x", "", {.type = '3', .dev_major = 4096, .dev_minor = 0});
  ExpectRefused(wrong, "device number 4096:0");
}

TEST(LayerBuilderTest, DropsXattrsThatRootCouldNotSet) {
  const auto records = [](std::initializer_list<const char*> names) {
    std::vector<std::pair<std::string, std::string>> pax;
    for (const char* name : names) {
      pax.emplace_back(std::string("SCHILY.xattr.") + name, "v");
    }
    return pax;
  };
  const auto all =
      records({"user.u", "security.s", "trusted.t", "trusted.overlay.opaque", "com.apple.x",
               "system.posix_acl_access", "system.posix_acl_default", "system.other"});
  TarArchive archive;
  archive.Add("d", "", {.type = '5', .mode = 0755, .pax = all}).Add("f", "", {.pax = all});
  archive.Add("l", "", {.type = '2', .link_name = "t", .pax = all});
  archive.Add("p", "", {.type = '6', .pax = all});
  EXPECT_THAT(
      Tree(archive),
      ElementsAre(Dir("d") + " security.s=v system.posix_acl_access=v system.posix_acl_default=v"
                             " user.u=v",
                  File("f", 0) + " security.s=v system.posix_acl_access=v user.u=v",
                  "l symlink 777 0:0 1700000000 -> t security.s=v",
                  "p fifo 644 0:0 1700000000 security.s=v system.posix_acl_access=v"));
}

TEST(LayerBuilderTest, RefusesXattrsBeyondTheKernelsLimits) {
  const auto with = [](const std::string& name, const std::string& value) {
    return TarArchive().Add("f", "", {.pax = {{"SCHILY.xattr." + name, value}}});
  };
  ExpectRefused(with("user.x", std::string(65537, 'v')), "extended attribute 'user.x'");
  ExpectRefused(with("user." + std::string(251, 'n'), "v"), "extended attribute");
  ExpectRefused(with("user.", "v"), "extended attribute");
}

TEST(LayerBuilderTest, ClampsTimes) {
  TarArchive archive;
  archive.Add("far", "", {.mtime = 8204889600}).Add("old", "", {.mtime = -86400});
  archive.Add("older", "", {.pax = {{"mtime", "-0.5"}}});
  archive.Add("too-far", "", {.pax = {{"mtime", "9223372036.9"}}});
  archive.Add("nsec", "", {.pax = {{"mtime", "1700000000.987654321"}}});
  EXPECT_THAT(Tree(archive), ElementsAre("far file 644 0:0 8204889600 size=0",
                                         "nsec file 644 0:0 1700000000.987654321 size=0",
                                         "old file 644 0:0 0 size=0", "older file 644 0:0 0 size=0",
                                         "too-far file 644 0:0 0 size=0"));
}

TEST(LayerBuilderTest, OwnersAreWhatChownTakes) {
  TarArchive archive;
  archive.Add("big", "", {.uid = 3000000, .gid = 4294967294});
  archive.Add("minus-two", "", {.uid = -2, .gid = -1});
  EXPECT_THAT(Tree(archive), ElementsAre("big file 644 3000000:4294967294 1700000000 size=0",
                                         "minus-two file 644 4294967294:0 1700000000 size=0"));
  ExpectRefused(TarArchive().Add("x", "", {.uid = 1LL << 32U}), "owner 4294967296");
}

TEST(LayerBuilderTest, KeepsAllPermissionBitsAndNoOther) {
  TarArchive archive;
  archive.Add("f", "", {.mode = 0107777}).Add("d", "", {.type = '5', .mode = 041777});
  archive.Add("l", "", {.type = '2', .link_name = "t", .mode = 0600});
  EXPECT_THAT(Tree(archive),
              ElementsAre("d dir 1777 0:0 1700000000", "f file 7777 0:0 1700000000 size=0",
                          "l symlink 777 0:0 1700000000 -> t"));
}

TEST(LayerBuilderTest, RefusesSymlinkTargetsThatCannotBe) {
  ExpectRefused(TarArchive().Symlink("l", ""), "not a valid symlink target");
  TarArchive longest;
  longest.Special('K', std::string(4095, 't')).Symlink("l", "");
  EXPECT_THAT(Tree(longest), SizeIs(1));
  TarArchive longer;
  longer.Special('K', std::string(4096, 't')).Symlink("l", "");
  ExpectRefused(longer, "not a valid symlink target");
}

TEST(LayerBuilderTest, GlobalHeadersMakeNothing) {
  TarArchive archive;
  archive.Add("pax_global_header", PaxRecord("comment", "0123"), {.type = 'g'}).File("f");
  EXPECT_THAT(Tree(archive), ElementsAre(File("f", 0)));
}

TEST(LayerBuilderTest, RefusesTypesThatContainerdRefuses) {
  for (char type : {'V', 'M', 'D', 'X', '8'}) {
    ExpectRefused(TarArchive().Add("entry", "", {.type = type}),
                  fmt::format("'entry': unhandled tar header type {}", static_cast<int>(type)));
  }
}

TEST(LayerBuilderTest, RefusesTreesThatAreTooDeep) {
  // Each path is short enough: the depth grows through a symlink.
  std::string half;
  for (int i = 0; i < 2040; ++i) {
    half += "d/";
  }
  TarArchive archive;
  archive.Special('L', half).Directory("").Special('K', half.substr(0, 4094)).Symlink("s", "");
  archive.Special('L', "s/" + half).Directory("").Special('L', "s/s").Directory("");
  FLOE_EXPECT_OK(BuildLayer(archive));
  TarArchive deeper;
  deeper.Special('L', half).Directory("").Special('K', half).Symlink("s", "");
  deeper.Special('L', "s/" + half).Directory("");
  deeper.Special('K', "s/" + half.substr(0, 4090)).Symlink("t", "");
  deeper.Special('L', "t/d/d/d/d/d/d/d/" + half).Directory("");
  deeper.Special('L', "t/d/d/d/d/d/d/d/d/d/d/d/d/d/d/" + half.substr(0, 4000)).Directory("");
  ExpectRefused(deeper, "deep");
}

TEST(LayerBuilderTest, SortsNamesByUnsignedBytes) {
  TarArchive archive;
  archive.File("\xc3\xa4").File("z").File("A").File("a-b").File("a");
  EXPECT_THAT(Tree(archive), ElementsAre(File("A", 0), File("a", 0), File("a-b", 0), File("z", 0),
                                         File("\xc3\xa4", 0)));
}

}  // namespace
}  // namespace floe::image
