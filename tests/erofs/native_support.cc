#include "tests/erofs/native_support.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "base/check.h"
#include "base/file.h"
#include "erofs/native_layer_indexer.h"
#include "erofs/writer.h"
#include "tests/erofs/layer_fixture.h"
#include "tests/image/layer_support.h"
#include "tests/support/temp_dir.h"

namespace floe::erofs::testing {
namespace {

namespace fs = std::filesystem;

int Run(const std::string& command, std::string& output) {
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  FLOE_CHECK(pipe != nullptr);
  std::array<char, 4096> buffer{};
  output.clear();
  while (const size_t read = std::fread(buffer.data(), 1, buffer.size(), pipe)) {
    output.append(buffer.data(), read);
  }
  const int status = ::pclose(pipe);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void MakeFiles(const fs::path& root) {
  WriteText(root / "empty", "");
  WriteText(root / "small", "small enough to lie behind its inode");
  WriteText(root / "exact", TestContent(2 * kBlockBytes, 1));
  WriteText(root / "file", TestContent(10'000, 2));
  WriteText(root / "large", TestContent(700'000, 3));
  WriteText(root / "twice", TestContent(10'000, 2));
  WriteText(root / "sparse", "");
  fs::resize_file(root / "sparse", 3'000'000);
  std::fstream sparse(root / "sparse", std::ios::in | std::ios::out | std::ios::binary);
  sparse.seekp(1'000'000);
  sparse << TestContent(5000, 4);
  sparse.seekp(2'999'990);
  sparse << "the end..!";
  FLOE_CHECK(::chmod((root / "file").c_str(), 04755) == 0);
}

void MakeDirectories(const fs::path& root) {
  fs::create_directories(root / "dir/inner/most");
  fs::create_directories(root / "empty-dir");
  fs::create_directories(root / "wide");
  for (int i = 0; i < 400; ++i) {
    WriteText(root / "wide" / (std::to_string(i) + "-" + std::string(40, 'n')), std::to_string(i));
  }
  WriteText(root / "dir/inner/most/deep", "deep");
  fs::create_hard_link(root / "file", root / "dir/hard");
  fs::create_hard_link(root / "small", root / "dir/inner/also-small");
  fs::create_symlink("file", root / "link");
  fs::create_symlink(std::string(3000, 'l'), root / "dir/long-link");
  FLOE_CHECK(::mkfifo((root / "fifo").c_str(), 0640) == 0);
}

void MakePrivileged(const fs::path& root) {
  if (::geteuid() != 0) {
    std::fprintf(stderr, "not root: no devices and no other owners in the sample\n");
    return;
  }
  FLOE_CHECK(::mknod((root / "dir/char").c_str(), S_IFCHR | 0600, makedev(5, 700)) == 0);
  FLOE_CHECK(::mknod((root / "dir/block").c_str(), S_IFBLK | 0600, makedev(8, 1)) == 0);
  FLOE_CHECK(::mknod((root / "dir/socket").c_str(), S_IFSOCK | 0600, 0) == 0);
  FLOE_CHECK(::lchown((root / "large").c_str(), 1000, 1001) == 0);
}

void MakeXattrs(const fs::path& root) {
  if (!SetXattr(root / "file", "user.one", "1")) {
    return;
  }
  SetXattr(root / "dir", "user.long", std::string(1500, 'v'));
  SetXattr(root / "small", "user.empty", "");
  for (const char* path : {"file", "large", "exact", "empty-dir", "twice"}) {
    SetXattr(root / path, "user.common", "the same everywhere, so that it is shared");
  }
}

/// In memory where there is such a place: the mutation test writes thousands of images.
fs::path SpoolDirectory() {
  const fs::path memory = "/dev/shm";
  return ::access(memory.c_str(), W_OK) == 0 ? memory : fs::temp_directory_path();
}

}  // namespace

bool HaveMkfs() {
  std::string output;
  return Run("mkfs.erofs --help", output) == 0;
}

Result<std::string> MakeImage(const fs::path& directory, const std::string& options) {
  const floe::testing::TempDir work;
  const std::string image = (work / "image").native();
  std::string output;
  const std::string command =
      "mkfs.erofs --quiet " + options + " " + image + " " + directory.native();
  if (Run(command, output) != 0) {
    return Internal("{}: {}", command, output);
  }
  return ReadFile(image);
}

void WriteText(const fs::path& path, std::string_view text) {
  std::ofstream(path, std::ios::binary) << text;
}

bool SetXattr(const fs::path& path, const std::string& name, std::string_view value) {
  if (::lsetxattr(path.c_str(), name.c_str(), value.data(), value.size(), 0) == 0) {
    return true;
  }
  std::fprintf(stderr, "no %s: errno %d\n", name.c_str(), errno);
  return false;
}

void MakeSampleTree(const fs::path& root) {
  MakeFiles(root);
  MakeDirectories(root);
  MakePrivileged(root);
  MakeXattrs(root);
  const std::array<timespec, 2> times = {timespec{1'500'000'000, 0},
                                         timespec{1'500'000'000, 123'456'789}};
  FLOE_CHECK(::utimensat(AT_FDCWD, (root / "file").c_str(), times.data(), 0) == 0);
}

image::LayerSource NativeSourceOf(std::string_view blob, std::string_view media_type) {
  image::LayerSource source = image::SourceOf(blob);
  source.media_type = media_type.empty() ? kErofsLayerType : media_type;
  return source;
}

Result<image::IndexedLayer> IndexNative(std::string_view blob, const image::LayerSource& source,
                                        image::IndexerOptions options, size_t step) {
  FLOE_ASSIGN_OR_RETURN(const auto indexer,
                        NativeLayerIndexer::Create(source, options, SpoolDirectory()));
  for (size_t at = 0; at < blob.size(); at += step) {
    const std::string_view part = blob.substr(at, step);
    FLOE_RETURN_IF_ERROR(indexer->Feed(std::as_bytes(std::span(part))));
  }
  return indexer->Finish();
}

Result<Tree> TreeOfLayer(const image::IndexedLayer& layer, std::string_view blob,
                         WhiteoutForm form) {
  FLOE_ASSIGN_OR_RETURN(const std::string device, image::FillDevice(layer, blob));
  const MergeLayer merged{.index = &layer.index, .device_tags = {Digest::Of(device).hex()}};
  FLOE_ASSIGN_OR_RETURN(const Bootstrap bootstrap,
                        WriteBootstrap(std::span(&merged, 1), {.whiteouts = form}));
  std::vector<std::string_view> devices;
  if (!bootstrap.devices.empty()) {
    devices.emplace_back(device);
  }
  return DumpBootstrap(bootstrap.bytes, devices);
}

}  // namespace floe::erofs::testing
