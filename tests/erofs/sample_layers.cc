#include "tests/erofs/sample_layers.h"

#include <sys/stat.h>

namespace floe::erofs::testing {
namespace {

constexpr uint64_t kBlock = 4096;

/// A POSIX ACL in the kernel's xattr form: user::rw-, user:1000:r--, group::r--, mask::r--,
/// other::r--.
std::string Acl() {
  std::string acl("\x02\0\0\0", 4);
  const auto entry = [&](char tag, char perm, uint32_t id) {
    acl.append({tag, '\0', perm, '\0'});
    for (unsigned shift = 0; shift < 32; shift += 8) {
      acl.push_back(static_cast<char>(id >> shift));
    }
  };
  entry(0x01, 6, UINT32_MAX);
  entry(0x02, 4, 1000);
  entry(0x04, 4, UINT32_MAX);
  entry(0x10, 4, UINT32_MAX);
  entry(0x20, 4, UINT32_MAX);
  return acl;
}

void AddFiles(LayerFixture& layer) {
  for (uint64_t size : {0U, 1U, 4095U, 4096U, 4097U, 65536U, 300001U}) {
    layer.File("sizes/f" + std::to_string(size), TestContent(size, static_cast<uint32_t>(size)));
  }
  layer.Sparse("sizes/holes", 40 * kBlock + 17,
               {{2 * kBlock, TestContent(3 * kBlock, 1)}, {40 * kBlock, TestContent(17, 2)}});
  layer.Sparse("sizes/all-hole", 5 * kBlock + 5, {});
  layer.Sparse("sizes/tail-hole", 1 << 20, {{0, TestContent(5000, 3)}});
  layer.UseBlob(1).Sparse("sizes/two-blobs", 6 * kBlock, {{0, TestContent(4 * kBlock, 4)}});
  layer.UseBlob(0).File("sizes/after", TestContent(10, 5));
}

void AddKinds(LayerFixture& layer) {
  for (uint32_t mode : {0U, 04755U, 02755U, 01644U, 07777U}) {
    layer.File("modes/m" + std::to_string(mode), "x", {.mode = mode});
  }
  layer.Dir("modes/dir", {.mode = 02775, .uid = 1000, .gid = 1000});
  layer.File("owners/big", "b", {.uid = 70000, .gid = 4294967293});
  layer.File("times/nsec", "", {.mtime_seconds = 1700000000, .mtime_nanoseconds = 987654321});
  layer.File("times/old", "", {.mtime_seconds = -86400})
      .File("times/far", "", {.mtime_seconds = 1LL << 33});
  layer.Special("special/fifo", S_IFIFO).Special("special/null", S_IFCHR, 1, 3, {.mode = 0666});
  layer.Special("special/blk", S_IFBLK, 259, 70000).Special("special/sock", S_IFSOCK);
  layer.Symlink("links/rel", "target").Symlink("links/long", std::string(4095, 'l'));
  layer.Symlink("links/inline", std::string(3000, 'i'));
  layer.File("links/target", TestContent(9000, 6)).HardLink("links/hard", "links/target");
  layer.HardLink("elsewhere/hard", "links/target").HardLink("links/hard-rel", "links/rel");
}

void AddNames(LayerFixture& layer) {
  layer.File("names/" + std::string(255, 'n'), "255").File("names/\xC3\xBCn\xC3\xAF", "u");
  layer.File("names/-dash", "d").File("names/!bang", "!").File("names/.hidden", "h");
  layer.File("names/..x", "x").File("names/new\nline", "nl").File("names/\xFF\xFE", "raw");
  for (int i = 0; i < 3000; ++i) {
    layer.File("many/entry-" + std::to_string(i), "");
  }
  // A directory whose entries fill one block to the last byte: . and .. take 13 + 14 bytes.
  for (int i = 0; i < 19; ++i) {
    layer.File("full/" + std::to_string(100 + i) + std::string(197, 'f'), "");
  }
  layer.File("full/" + std::string(29, 'z'), "");
  std::string deep = "deep";
  for (int i = 0; i < 40; ++i) {
    deep += "/level" + std::to_string(i);
  }
  layer.File(deep + "/bottom", "bottom");
}

void AddXattrs(LayerFixture& layer) {
  const std::string capability("\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
  layer.Dir("xattrs", {.mode = 0755, .xattrs = {{"user.dir", "on a directory"}}});
  layer.File(
      "xattrs/user", "u",
      {.xattrs = {{"user.empty", ""}, {"user.long", std::string(20000, 'v')}, {"user.one", "1"}}});
  layer.File("xattrs/cap", "c", {.mode = 0755, .xattrs = {{"security.capability", capability}}});
  layer.File("xattrs/acl", "a", {.xattrs = {{"system.posix_acl_access", Acl()}}});
  layer.Dir("xattrs/default", {.mode = 0755, .xattrs = {{"system.posix_acl_default", Acl()}}});
  layer.File("xattrs/trusted", "t", {.xattrs = {{"trusted.thing", std::string("\0\xFF", 2)}}});
  layer.Symlink("xattrs/link", std::string(100, 's'),
                {.mode = 0777, .xattrs = {{"trusted.big", std::string(4000, 'b')}}});
  for (int i = 0; i < 40; ++i) {
    layer.File("xattrs/same" + std::to_string(i), "s",
               {.xattrs = {{"security.selinux", "system_u:object_r:container_file_t:s0"},
                           {"user.own", std::to_string(i)}}});
  }
}

}  // namespace

SampleLayers::SampleLayers() {
  layers_[0].RootMeta({.mode = 0751, .uid = 1, .gid = 2, .mtime_seconds = 3});
  AddFiles(layers_[0]);
  AddKinds(layers_[0]);
  AddNames(layers_[0]);
  AddXattrs(layers_[0]);
  layers_[0].Dir("gone").File("gone/file", "g").File("gone/kept", "k");
  layers_[1].Whiteout("gone/file").File("upper", TestContent(8193, 7)).Whiteout("many/entry-7");
  layers_[1].File("sizes/f4097", TestContent(4097, 8)).Symlink("modes/dir", "elsewhere");
}

}  // namespace floe::erofs::testing
