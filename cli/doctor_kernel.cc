#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>

#include "base/error.h"
#include "base/file.h"
#include "base/unique_fd.h"
#include "cli/doctor.h"
#include "erofs/writer.h"
#include "image/layer_index.h"

namespace floe::cli {
namespace {

constexpr const char* kArea = "kernel";
Finding Good(std::string name, std::string detail) {
  return {kArea, std::move(name), Verdict::kGood, std::move(detail)};
}
Finding Note(std::string name, std::string detail) {
  return {kArea, std::move(name), Verdict::kNote, std::move(detail)};
}
Finding Missing(std::string name, std::string detail) {
  return {kArea, std::move(name), Verdict::kMissing, std::move(detail)};
}

std::string Errno(int error) { return std::strerror(error); }

/// Whether the kernel knows a file system now. Asking for it loads its module.
bool KnowsFileSystem(const char* name) { return UniqueFd(::fsopen(name, FSOPEN_CLOEXEC)).valid(); }

/// An EROFS image with an empty root directory, removed with this object.
class EmptyImage {
 public:
  explicit EmptyImage(const std::string& directory)
      : path_(directory + "/floe-doctor." + std::to_string(::getpid()) + ".erofs") {}
  ~EmptyImage() { (void)RemoveFile(path_); }
  EmptyImage(const EmptyImage&) = delete;
  EmptyImage& operator=(const EmptyImage&) = delete;

  Result<void> Write() {
    image::LayerIndexData data;
    image::Inode root;
    root.mode = S_IFDIR | 0755U;
    data.inodes.push_back(root);
    FLOE_ASSIGN_OR_RETURN(const auto index, image::LayerIndex::Create(std::move(data)));
    const std::array<erofs::MergeLayer, 1> layers = {erofs::MergeLayer{&index, {}}};
    FLOE_ASSIGN_OR_RETURN(const auto bootstrap, erofs::WriteBootstrap(layers, {}));
    return WriteFileAtomically(path_, bootstrap.bytes);
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  const std::string path_;
};

/// 0, or the errno of making (but attaching nowhere) an EROFS mount of `source`.
int TryErofs(const std::string& source) {
  const UniqueFd context(::fsopen("erofs", FSOPEN_CLOEXEC));
  if (!context.valid() ||
      ::fsconfig(context.get(), FSCONFIG_SET_STRING, "source", source.c_str(), 0) != 0 ||
      ::fsconfig(context.get(), FSCONFIG_SET_FLAG, "ro", nullptr, 0) != 0 ||
      ::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
    return errno;
  }
  return 0;
}

/// The same through a loop device, which the kernel frees when the last user lets go.
int TryErofsOverLoop(const std::string& path) {
  const UniqueFd control(::open("/dev/loop-control", O_RDWR | O_CLOEXEC));
  const int number = control.valid() ? ::ioctl(control.get(), LOOP_CTL_GET_FREE) : -1;
  if (number < 0) {
    return errno;
  }
  const std::string name = "/dev/loop" + std::to_string(number);
  const UniqueFd loop(::open(name.c_str(), O_RDWR | O_CLOEXEC));
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  loop_config config{};
  config.fd = static_cast<__u32>(file.get());
  config.info.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR;
  if (!loop.valid() || !file.valid() || ::ioctl(loop.get(), LOOP_CONFIGURE, &config) != 0) {
    return errno;
  }
  return TryErofs(name);
}

void ExamineErofs(const std::string& scratch, std::vector<Finding>& findings) {
  if (!KnowsFileSystem("erofs")) {
    findings.push_back(Missing("EROFS",
                               "this kernel has none: it needs CONFIG_EROFS_FS (Linux "
                               "5.16 or newer), or its module loaded: modprobe erofs"));
    return;
  }
  EmptyImage image(scratch);
  if (const auto written = image.Write(); !written.has_value()) {
    findings.push_back(Missing("EROFS", "cannot try it: " + written.error().message));
    return;
  }
  const int file = TryErofs(image.path());
  const int loop = TryErofsOverLoop(image.path());
  findings.push_back(Good("EROFS", "known"));
  findings.push_back(file == 0 ? Good("EROFS on files", "works")
                               : Note("EROFS on files", "not here (" + Errno(file) +
                                                            "): Linux 6.12 or newer has it"));
  if (loop == 0) {
    findings.push_back(Good("EROFS on loop devices", "works"));
  } else {
    findings.push_back((file == 0 ? Note : Missing)(
        "EROFS on loop devices",
        "not here (" + Errno(loop) + "): needs the loop driver: modprobe loop"));
  }
}

Finding ExamineFuse() {
  const UniqueFd device(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
  const int error = errno;
  return device.valid()
             ? Good("FUSE", "/dev/fuse opens")
             : Missing("FUSE", "/dev/fuse does not open (" + Errno(error) + "): modprobe fuse");
}

}  // namespace

std::vector<Finding> ExamineKernel(const std::string& scratch) {
  std::vector<Finding> findings;
  utsname name{};
  ::uname(&name);
  findings.push_back(Good("release", std::string(name.release) + " " + name.machine));
  if (::geteuid() != 0) {
    findings.push_back(Missing("privileges", "run as root: mounts can only be tried by root"));
    return findings;
  }
  ExamineErofs(scratch, findings);
  findings.push_back(ExamineFuse());
  findings.push_back(KnowsFileSystem("overlay")
                         ? Good("overlayfs", "known")
                         : Missing("overlayfs", "this kernel has none: modprobe overlay"));
  return findings;
}

}  // namespace floe::cli
