#include "tests/erofs/kernel_mount.h"

#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>

#include "base/file.h"
#include "tests/erofs/layer_fixture.h"
#include "tests/support/temp_dir.h"

namespace floe::erofs::testing {
namespace {

Result<void> Probe() {
  if (::geteuid() != 0) {
    return PermissionDenied("not root");
  }
  if (::unshare(CLONE_NEWNS) != 0 ||
      ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return ErrnoError(errno, "a mount namespace");
  }
  const floe::testing::TempDir work;
  LayerFixture layer;
  layer.File("f", "x");
  FLOE_ASSIGN_OR_RETURN(const Bootstrap bootstrap, Stack({&layer}).Write());
  auto mounted = KernelMount::Erofs(work.path(), bootstrap.bytes, {layer.devices()[0]});
  if (!mounted.has_value()) {
    return WithContext(mounted.error(), "this kernel does not mount EROFS from files");
  }
  return Ok();
}

Result<void> MountAt(const std::string& source, const std::string& at, const char* type,
                     const std::string& options) {
  FLOE_RETURN_IF_ERROR(CreateDirectories(at));
  if (::mount(source.c_str(), at.c_str(), type, MS_RDONLY, options.c_str()) != 0) {
    return ErrnoError(errno, "mount " + at);
  }
  return Ok();
}

}  // namespace

Result<void> CanMountErofsFiles() {
  static const Result<void> kAnswer = Probe();
  return kAnswer;
}

Result<std::vector<std::string>> WriteImageFiles(const std::filesystem::path& work,
                                                 std::string_view image,
                                                 const std::vector<std::string_view>& devices) {
  FLOE_RETURN_IF_ERROR(CreateDirectories(work));
  std::vector<std::string> paths = {(work / "image").native()};
  FLOE_RETURN_IF_ERROR(WriteFileAtomically(paths[0], image));
  for (size_t i = 0; i < devices.size(); ++i) {
    paths.push_back((work / ("device" + std::to_string(i))).native());
    FLOE_RETURN_IF_ERROR(WriteFileAtomically(paths.back(), devices[i]));
  }
  return paths;
}

Result<KernelMount> KernelMount::Erofs(const std::filesystem::path& work, std::string_view image,
                                       const std::vector<std::string_view>& devices) {
  FLOE_ASSIGN_OR_RETURN(const std::vector<std::string> paths,
                        WriteImageFiles(work, image, devices));
  std::string options;
  for (size_t i = 1; i < paths.size(); ++i) {
    options += (options.empty() ? "device=" : ",device=") + paths[i];
  }
  const std::string at = (work / "mnt").native();
  FLOE_RETURN_IF_ERROR(MountAt(paths[0], at, "erofs", options));
  return KernelMount(at);
}

Result<KernelMount> KernelMount::Overlay(const std::filesystem::path& at,
                                         const std::vector<std::string>& top_first) {
  std::string options;
  for (const std::string& directory : top_first) {
    options += (options.empty() ? "lowerdir=" : ":") + directory;
  }
  FLOE_RETURN_IF_ERROR(MountAt("overlay", at.native(), "overlay", options));
  return KernelMount(at.native());
}

KernelMount::~KernelMount() {
  if (!at_.empty()) {
    ::umount2(at_.c_str(), MNT_DETACH);
  }
}

}  // namespace floe::erofs::testing
