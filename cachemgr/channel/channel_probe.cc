#include "cachemgr/channel/channel_probe.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <utility>

#include "base/file.h"
#include "base/mutex.h"
#include "cachemgr/channel/plain_mount.h"
#include "cachemgr/channel/probe_image.h"

namespace floe::cachemgr {
namespace {

namespace fs = std::filesystem;

// Fills the one range and refuses the other.
class ProbeHandler final : public DemandHandler {
 public:
  ProbeHandler(const ProbeImage& image, int data_fd) : image_(image), data_fd_(data_fd) {}

  bool TryHit(ByteRange /*range*/) override { return false; }
  void Demand(ByteRange range, std::unique_ptr<DemandReply> reply) override {
    ++demands_;
    if (range.Overlaps(image_.refused)) {
      reply->Send(Unavailable("refused on purpose"));
      return;
    }
    reply->Send(Write());
  }
  void UseCacheFile(std::shared_ptr<CacheFile> file,
                    const std::vector<ByteRange>& /*present*/) override {
    const MutexLock lock(mutex_);
    file_ = std::move(file);
  }
  std::vector<ByteRange> Blanks(ByteRange /*range*/) override { return {}; }
  [[nodiscard]] int demands() const { return demands_; }

 private:
  Result<void> Write() {
    std::shared_ptr<CacheFile> file;
    {
      const MutexLock lock(mutex_);
      file = file_;
    }
    // A whole block from aligned memory: some cache files take nothing else.
    alignas(kBlockBytes) std::array<std::byte, kBlockBytes> block{};
    std::ranges::copy(std::as_bytes(std::span(image_.content)), block.begin());
    return file != nullptr ? file->Write(block, image_.filled.offset)
                           : PwriteAll(data_fd_, block, image_.filled.offset);
  }

  const ProbeImage& image_;
  const int data_fd_;
  std::atomic<int> demands_ = 0;
  Mutex mutex_;
  std::shared_ptr<CacheFile> file_ FLOE_GUARDED_BY(mutex_);
};

// Files of the probe in the scratch directory.
struct Stage {
  ProbeImage image;
  UniqueFd data;
  MountSpec spec;
};

Result<Stage> Prepare(const fs::path& scratch) {
  Stage stage;
  FLOE_ASSIGN_OR_RETURN(stage.image, MakeProbeImage());
  stage.spec.bootstrap = scratch / "bootstrap";
  stage.spec.bootstrap_digest = Digest::Of(stage.image.bootstrap);
  stage.spec.target = scratch / "mnt";
  FLOE_RETURN_IF_ERROR(WriteFileAtomically(stage.spec.bootstrap, stage.image.bootstrap));
  FLOE_RETURN_IF_ERROR(CreateDirectories(stage.spec.target));
  FLOE_ASSIGN_OR_RETURN(stage.data, OpenFile(scratch / "data", O_RDWR | O_CREAT | O_TRUNC));
  if (::ftruncate(stage.data.get(), static_cast<off_t>(stage.image.device_bytes)) != 0) {
    return ErrnoError(errno, "set the size of the probe's data file");
  }
  stage.spec.devices.push_back({.key = stage.image.key,
                                .size_bytes = stage.image.device_bytes,
                                .data_fd = stage.data.get()});
  return stage;
}

Result<std::string> ReadMounted(const fs::path& path) {
  auto bytes = ReadFile(path);
  if (!bytes) {
    return WithContext(bytes.error(), "probe");
  }
  return bytes;
}

Result<void> ExpectFilled(const Stage& stage) {
  FLOE_ASSIGN_OR_RETURN(const std::string bytes, ReadMounted(stage.spec.target / "filled"));
  return bytes == stage.image.content ? Ok() : Result<void>(DataLoss("the probe read wrong bytes"));
}

// Runs `check` on the mounted probe; unmounts in any case.
template <typename Check>
Result<void> Mounted(const Stage& stage, const Check& check) {
  Result<void> outcome = check();
  if (::umount2(stage.spec.target.c_str(), 0) != 0) {
    const int error = errno;
    ::umount2(stage.spec.target.c_str(), MNT_DETACH);
    return outcome ? Result<void>(ErrnoError(error, "unmount the probe")) : outcome;
  }
  return outcome;
}

}  // namespace

Result<void> ProbeChannel(OnDemandChannel& channel, const fs::path& scratch) {
  FLOE_ASSIGN_OR_RETURN(Stage stage, Prepare(scratch));
  auto handler = std::make_shared<ProbeHandler>(stage.image, stage.data.get());
  FLOE_ASSIGN_OR_RETURN(const auto registration,
                        channel.Register({.key = stage.image.key,
                                          .size_bytes = stage.image.device_bytes,
                                          .data_fd = stage.data.get()},
                                         handler));
  stage.spec.devices.front().registration = registration.get();
  FLOE_RETURN_IF_ERROR(channel.Mount(stage.spec));
  return Mounted(stage, [&]() -> Result<void> {
    FLOE_RETURN_IF_ERROR(ExpectFilled(stage));
    if (ReadMounted(stage.spec.target / "refused")) {
      return FailedPrecondition("a refused read did not fail");
    }
    // The filled one may be there from an earlier probe, in the kernel's own cache.
    if (handler->demands() == 0) {
      return FailedPrecondition("the probe's reads did not reach Floe");
    }
    return Ok();
  });
}

Result<void> ProbePlainMount(Attachment attachment, const fs::path& scratch) {
  FLOE_ASSIGN_OR_RETURN(const Stage stage, Prepare(scratch));
  FLOE_RETURN_IF_ERROR(PwriteAll(stage.data.get(), std::as_bytes(std::span(stage.image.content)),
                                 stage.image.filled.offset));
  FLOE_RETURN_IF_ERROR(MountPlain(stage.spec, attachment));
  return Mounted(stage, [&] { return ExpectFilled(stage); });
}

}  // namespace floe::cachemgr
