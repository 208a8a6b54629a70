// EROFS over fscache on the running kernel, where it has on-demand mode (User-Mode Linux in our
// runs: tests/uml): what the kernel does with a daemon that misbehaves, and files whose blocks lie
// scattered over several cookies. Skipped, with the reason, elsewhere.
#include <fcntl.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <functional>
#include <future>
#include <map>
#include <random>
#include <thread>

#include "cachemgr/channel/cachefiles/cachefiles_culler.h"
#include "cachemgr/channel/cachefiles/cachefiles_device.h"
#include "cachemgr/channel/cachefiles/cachefiles_file.h"
#include "cachemgr/channel/erofs_mount.h"
#include "erofs/writer.h"
#include "image/blob_map.h"
#include "tests/cachemgr/kernel_fixture.h"

namespace floe::cachemgr::testing {
namespace {

using ::testing::AnyOf;

constexpr const char* kDomain = "floe-test";

// --- a daemon that does what a test tells it ---

/// Serves one image of one blob from memory. The two functions may be replaced before a mount.
class ScriptedDaemon {
 public:
  enum class Answer : uint8_t { kFill, kEmpty, kNone, kCloseFile };

  static Result<std::unique_ptr<ScriptedDaemon>> Start(const std::filesystem::path& directory,
                                                       const TestBlob& blob) {
    FLOE_RETURN_IF_ERROR(CreateDirectories(directory));
    FLOE_ASSIGN_OR_RETURN(CachefilesDevice device, CachefilesDevice::Open());
    FLOE_RETURN_IF_ERROR(device.Bind(directory, "floe-test", {}));
    return std::unique_ptr<ScriptedDaemon>(new ScriptedDaemon(std::move(device), blob));
  }
  ~ScriptedDaemon() { stop_ = true; }
  ScriptedDaemon(const ScriptedDaemon&) = delete;
  ScriptedDaemon& operator=(const ScriptedDaemon&) = delete;

  /// The errno that an OPEN of a key is refused with; 0: it is answered.
  void OnOpen(std::function<int(const std::string&)> on_open) {
    const MutexLock lock(mutex_);
    on_open_ = std::move(on_open);
  }
  void OnRead(std::function<Answer()> on_read) {
    const MutexLock lock(mutex_);
    on_read_ = std::move(on_read);
  }
  Result<void> Restore() { return device_.Restore(); }
  CachefilesDevice& device() { return device_; }
  [[nodiscard]] int opens() const { return opens_; }
  [[nodiscard]] int reads() const { return reads_; }
  /// The kernel looks a device's cookie up behind the mounter's back: its OPEN may come later.
  void WaitForOpens(int count) const {
    while (opens_ < count) {
      std::this_thread::yield();
    }
  }
  void WaitForReads(int count) const {
    while (reads_ < count) {
      std::this_thread::yield();
    }
  }

 private:
  struct Object {
    std::string key;
    std::string content;
    std::shared_ptr<CachefilesFile> file;
  };

  ScriptedDaemon(CachefilesDevice device, const TestBlob& blob)
      : device_(std::move(device)),
        blob_(blob),
        bootstrap_(blob.Bootstrap()),
        thread_([this] { Serve(); }) {}

  void Serve() {
    constexpr int kLookMs = 5;
    while (!stop_) {
      pollfd waited{.fd = device_.fd(), .events = POLLIN, .revents = 0};
      ::poll(&waited, 1, kLookMs);
      for (;;) {
        auto message = device_.Next();
        if (!message || !message->has_value()) {
          break;
        }
        Handle(**message);
      }
    }
  }
  void Handle(const CachefilesMessage& message) {
    if (const auto* open = std::get_if<CachefilesOpen>(&message.body)) {
      HandleOpen(message, *open);
    } else if (const auto* read = std::get_if<CachefilesRead>(&message.body)) {
      HandleRead(message, read->range);
    } else {
      objects_.erase(message.object);
    }
  }
  void HandleOpen(const CachefilesMessage& message, const CachefilesOpen& open) {
    ++opens_;
    Object object{.key = open.cookie_key, .content = {}, .file = nullptr};
    object.content = open.cookie_key == blob_.key ? blob_.device : bootstrap_;
    object.content.resize(AlignUp(object.content.size(), kBlockBytes));
    object.file = std::make_shared<CachefilesFile>(UniqueFd(open.fd), object.content.size());
    int refused = 0;
    {
      const MutexLock lock(mutex_);
      refused = on_open_ ? on_open_(open.cookie_key) : 0;
    }
    if (refused != 0) {
      (void)device_.RefuseOpen(message.id, refused);
      return;
    }
    (void)device_.CompleteOpen(message.id, object.content.size());
    if (open.cookie_key != blob_.key) {
      while (!object.file->PresentRanges().has_value()) {
        std::this_thread::yield();
      }
      Write(object, {.offset = 0, .length = object.content.size()});
    }
    objects_[message.object] = std::move(object);
  }
  void HandleRead(const CachefilesMessage& message, ByteRange range) {
    auto answer = Answer::kFill;
    const auto found = objects_.find(message.object);
    if (found == objects_.end()) {
      return;
    }
    if (found->second.key == blob_.key) {
      const MutexLock lock(mutex_);
      answer = on_read_ ? on_read_() : Answer::kFill;
    }
    if (answer == Answer::kFill) {
      Write(found->second, range);
    }
    if (answer == Answer::kCloseFile) {
      found->second.file->Close();
    } else if (answer != Answer::kNone) {
      (void)found->second.file->CompleteRead(message.id);
    }
    ++reads_;
  }
  static void Write(const Object& object, ByteRange range) {
    alignas(kBlockBytes) std::array<std::byte, kBlockBytes> block{};
    for (uint64_t at = range.offset; at < range.end(); at += kBlockBytes) {
      std::memcpy(block.data(), object.content.data() + at, kBlockBytes);
      const auto written = object.file->Write(block, at);
      EXPECT_TRUE(written.has_value()) << written.error().ToString();
    }
  }

  CachefilesDevice device_;
  const TestBlob& blob_;
  const std::string bootstrap_;
  std::map<uint32_t, Object> objects_;  // Of the thread alone.
  std::atomic<int> opens_ = 0, reads_ = 0;
  std::atomic<bool> stop_ = false;
  Mutex mutex_;
  std::function<int(const std::string&)> on_open_ FLOE_GUARDED_BY(mutex_);
  std::function<Answer()> on_read_ FLOE_GUARDED_BY(mutex_);
  std::jthread thread_;  // Last: ends first.
};

class MisbehavingDaemonTest : public KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (IsSkipped()) {
      return;
    }
    if (auto can = CanUseChannel("cachefiles"); !can) {
      GTEST_SKIP() << can.error().message;
    }
    StartDaemon();
  }
  void TearDown() override {
    ::umount2(target().c_str(), MNT_DETACH);
    daemon_.reset();
    KernelTest::TearDown();
  }
  void StartDaemon() {
    auto daemon = ScriptedDaemon::Start(directory_ / "cachefiles", blob_);
    FLOE_ASSERT_OK(daemon);
    daemon_ = std::move(*daemon);
  }
  Result<void> MountIt() {
    FLOE_ASSIGN_OR_RETURN(const UniqueFd mount,
                          CreateCookieMount(Digest::Of(blob_.Bootstrap()).hex(), kDomain));
    return AttachMount(mount.get(), target());
  }
  [[nodiscard]] std::future<Result<std::string>> ReadLater(size_t file) const {
    return std::async(std::launch::async, [this, file] { return ReadMounted(file); });
  }

  std::unique_ptr<ScriptedDaemon> daemon_;
};

TEST_F(MisbehavingDaemonTest, AnOpenAnsweredWithAnErrorFailsTheMountAndNothingElse) {
  daemon_->OnOpen([](const std::string&) { return EIO; });
  EXPECT_FALSE(MountIt().has_value());
  daemon_->OnOpen(nullptr);
  FLOE_ASSERT_OK(MountIt());
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string bytes, ReadMounted(3));
  EXPECT_EQ(bytes, Expected(3));
}

TEST_F(MisbehavingDaemonTest, AReadCompletedWithoutDataIsEioAndTheNextOneIsAsked) {
  FLOE_ASSERT_OK(MountIt());
  daemon_->OnRead([] { return ScriptedDaemon::Answer::kEmpty; });
  const auto failed = ReadMounted(3);
  ASSERT_FALSE(failed.has_value());
  EXPECT_EQ(failed.error().os_errno, EIO);
  daemon_->OnRead(nullptr);
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string bytes, ReadMounted(3));
  EXPECT_EQ(bytes, Expected(3));
}

TEST_F(MisbehavingDaemonTest, AFileClosedEarlyIsOpenedAgain) {
  if (!KernelAtLeast(6, 8)) {
    GTEST_SKIP() << "restore and re-opening: Linux 6.8";
  }
  FLOE_ASSERT_OK(MountIt());
  daemon_->WaitForOpens(2);  // The bootstrap and the blob.
  daemon_->OnRead([] { return ScriptedDaemon::Answer::kCloseFile; });
  auto reader = ReadLater(3);
  daemon_->WaitForReads(1);
  daemon_->OnRead(nullptr);
  FLOE_ASSERT_OK(daemon_->Restore());
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string bytes, reader.get());
  EXPECT_EQ(bytes, Expected(3));
  EXPECT_EQ(daemon_->opens(), 3);
}

TEST_F(MisbehavingDaemonTest, AReadThatIsNeverAnsweredWaitsForRestore) {
  if (!KernelAtLeast(6, 8)) {
    GTEST_SKIP() << "restore: Linux 6.8";
  }
  FLOE_ASSERT_OK(MountIt());
  daemon_->OnRead([] { return ScriptedDaemon::Answer::kNone; });
  auto reader = ReadLater(3);
  daemon_->WaitForReads(1);
  daemon_->OnRead(nullptr);
  FLOE_ASSERT_OK(daemon_->Restore());
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string bytes, reader.get());
  EXPECT_EQ(bytes, Expected(3));
}

TEST_F(MisbehavingDaemonTest, TheDeviceClosedWithAReadPendingFailsItAndUnmountWorks) {
  FLOE_ASSERT_OK(MountIt());
  daemon_->OnRead([] { return ScriptedDaemon::Answer::kNone; });
  auto reader = ReadLater(3);
  daemon_->WaitForReads(1);
  daemon_.reset();
  const auto failed = reader.get();
  ASSERT_FALSE(failed.has_value());
  EXPECT_THAT(failed.error().os_errno, AnyOf(EIO, ENOBUFS));
  EXPECT_EQ(::umount2(target().c_str(), 0), 0);
  StartDaemon();
  FLOE_ASSERT_OK(MountIt());
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string bytes, ReadMounted(3));
  EXPECT_EQ(bytes, Expected(3));
}

TEST_F(MisbehavingDaemonTest, TheSecondDaemonIsToldWhoHasTheDevice) {
  FLOE_EXPECT_ERROR(CachefilesDevice::Open(), ErrorCode::kUnavailable,
                    "is held by cachemgr_cachef");
}

// The kernel's file of the blob's cookie, once it is linked: when its cookie was withdrawn, behind
// the unmounter's back.
std::filesystem::path AwaitFile(const std::filesystem::path& directory, const std::string& key) {
  for (;;) {
    const auto files = ListCullCandidates(directory);
    for (const CullCandidate& file : files.value_or(std::vector<CullCandidate>())) {
      if (file.path.filename() == "D" + key) {
        return file.path;
      }
    }
    std::this_thread::yield();
  }
}

TEST_F(MisbehavingDaemonTest, AFileInUseIsNotCulledAndAFreeOneIs) {
  FLOE_ASSERT_OK(MountIt());
  FLOE_ASSERT_OK(ReadMounted(3));
  ASSERT_EQ(::umount2(target().c_str(), 0), 0);
  const std::filesystem::path file = AwaitFile(directory_ / "cachefiles", blob_.key);
  FLOE_ASSERT_OK_AND_ASSIGN(const UniqueFd before, OpenFile(".", O_RDONLY | O_DIRECTORY));
  ASSERT_EQ(::chdir(file.parent_path().c_str()), 0);

  FLOE_ASSERT_OK(MountIt());
  FLOE_ASSERT_OK(ReadMounted(3));
  FLOE_ASSERT_OK_AND_ASSIGN(const bool busy, daemon_->device().IsInUse(file.filename()));
  EXPECT_TRUE(busy);
  FLOE_ASSERT_OK_AND_ASSIGN(const bool culled, daemon_->device().Cull(file.filename()));
  EXPECT_FALSE(culled);
  ASSERT_EQ(::umount2(target().c_str(), 0), 0);

  while (daemon_->device().IsInUse(file.filename()).value_or(false)) {
    std::this_thread::yield();
  }
  FLOE_ASSERT_OK_AND_ASSIGN(const bool gone, daemon_->device().Cull(file.filename()));
  EXPECT_TRUE(gone);
  EXPECT_FALSE(std::filesystem::exists(file));
  ASSERT_EQ(::fchdir(before.get()), 0);
}

// --- what EROFS over fscache was made for ---

/// An image of one file whose blocks lie scattered over three blobs.
class ScatteredTest : public KernelTest {
 protected:
  static constexpr size_t kBlobs = 3;
  static constexpr uint64_t kBlocks = 120;

  void SetUp() override {
    KernelTest::SetUp();
    if (IsSkipped()) {
      return;
    }
    if (auto can = CanUseChannel("cachefiles"); !can) {
      GTEST_SKIP() << can.error().message;
    }
    for (uint32_t i = 0; i < kBlobs; ++i) {
      // Groups of 6144 bytes: every third block belongs to two of them.
      blobs_.push_back(TestBlob::Make({.file_bytes = {kBlocks / kBlobs * kBlockBytes},
                                       .unit_bytes = 24576,
                                       .group_bytes = 6144,
                                       .seed = 100 + i}));
    }
    MakeImage();
    StartManager("cachefiles");
    for (const TestBlob& blob : blobs_) {
      client_->AddBlob(blob.blob);
    }
  }

  void MakeImage() {
    image::LayerIndexData data;
    for (const TestBlob& blob : blobs_) {
      Append(data, blob.data);
    }
    data.inodes.resize(2);
    data.inodes[0].mode = S_IFDIR | 0755;
    data.inodes[0].dirent_count = 1;
    data.inodes[1].mode = S_IFREG | 0644;
    data.inodes[1].size_bytes = kBlocks * kBlockBytes;
    data.strings = "scattered";
    data.dirents.push_back({.name = {.offset = 0, .length = 9}, .inode = 1});
    std::vector<std::pair<uint32_t, uint64_t>> places;  // Blob, device offset.
    for (uint64_t i = 0; i < kBlocks; ++i) {
      places.emplace_back(static_cast<uint32_t>(i % kBlobs), i / kBlobs * kBlockBytes);
    }
    std::ranges::shuffle(places, std::mt19937(9));
    for (const auto& [blob, offset] : places) {
      data.segments.push_back({.file_offset = content_.size(),
                               .length = kBlockBytes,
                               .blob = blob,
                               .device_offset = offset});
      content_ += blobs_[blob].device.substr(offset, kBlockBytes);
    }
    data.inodes[1].segment_count = static_cast<uint32_t>(data.segments.size());
    auto index = image::LayerIndex::Create(std::move(data));
    FLOE_ASSERT_OK(index);
    erofs::MergeLayer layer{.index = &*index, .device_tags = {}};
    for (uint32_t i = 0; i < kBlobs; ++i) {
      const std::string map = image::EncodeBlobMap(*index, i);
      layer.device_tags.push_back(image::DeviceKey(map));
      const std::filesystem::path path = directory_ / ("map" + std::to_string(i));
      FLOE_ASSERT_OK(WriteFileAtomically(path, map));
      request_.devices.push_back(
          {.key = image::DeviceKey(map),
           .blob_map = path,
           .sources = {{.repository = {.registry = "registry", .path = "app"}}}});
    }
    FLOE_ASSERT_OK_AND_ASSIGN(const erofs::Bootstrap bootstrap,
                              erofs::WriteBootstrap({&layer, 1}, {}));
    FLOE_ASSERT_OK(WriteFileAtomically(directory_ / "scattered", bootstrap.bytes));
    request_.id = "scattered";
    request_.bootstrap = directory_ / "scattered";
    request_.bootstrap_digest = Digest::Of(bootstrap.bytes);
    request_.target = target();
  }

  static void Append(image::LayerIndexData& to, const image::LayerIndexData& from) {
    image::SourceBlob blob = from.blobs[0];
    blob.first_unit = static_cast<uint32_t>(to.units.size());
    blob.first_group = static_cast<uint32_t>(to.groups.size());
    blob.first_extent = static_cast<uint32_t>(to.extents.size());
    for (image::Unit unit : from.units) {
      unit.blob = static_cast<uint32_t>(to.blobs.size());
      to.units.push_back(unit);
    }
    for (image::Group group : from.groups) {
      group.unit += blob.first_unit;
      to.groups.push_back(group);
    }
    for (image::Extent extent : from.extents) {
      extent.group += blob.first_group;
      to.extents.push_back(extent);
    }
    to.blobs.push_back(blob);
  }

  void ReadBlocks(const std::vector<uint64_t>& blocks) const {
    FLOE_ASSERT_OK_AND_ASSIGN(const UniqueFd file, OpenFile(target() / "scattered", O_RDONLY));
    ASSERT_EQ(::posix_fadvise(file.get(), 0, 0, POSIX_FADV_RANDOM), 0);
    for (const uint64_t block : blocks) {
      std::string bytes(kBlockBytes, '\0');
      FLOE_ASSERT_OK(
          PreadAll(file.get(), std::as_writable_bytes(std::span(bytes)), block * kBlockBytes));
      ASSERT_EQ(bytes, content_.substr(block * kBlockBytes, kBlockBytes)) << "block " << block;
    }
  }
  void ReadAll() const {
    FLOE_ASSERT_OK_AND_ASSIGN(const std::string bytes, ReadFile(target() / "scattered"));
    ASSERT_EQ(bytes.size(), content_.size());
    EXPECT_TRUE(bytes == content_);
  }

  std::vector<TestBlob> blobs_;
  std::string content_;
  MountRequest request_;
};

TEST_F(ScatteredTest, AFileOverThreeCookiesReadsRightCold) {
  FLOE_ASSERT_OK(manager_->Mount(request_));
  ReadAll();
  FLOE_ASSERT_OK(DropCaches());
  const size_t requests = client_->requests().size();
  ReadAll();
  EXPECT_EQ(client_->requests().size(), requests);
  FLOE_EXPECT_OK(manager_->Unmount("scattered", false));
}

TEST_F(ScatteredTest, AFileReadsRightWithNeighbouringBlocksAlreadyThere) {
  std::vector<uint64_t> some;
  for (uint64_t block = 0; block < kBlocks; block += 5) {
    some.push_back(block);
  }
  std::ranges::shuffle(some, std::mt19937(4));
  FLOE_ASSERT_OK(manager_->Mount(request_));
  ReadBlocks(some);
  FLOE_ASSERT_OK(DropCaches());
  ReadAll();
  FLOE_EXPECT_OK(manager_->Unmount("scattered", false));
}

TEST_F(ScatteredTest, AFileReadsRightAfterAPartOfItWasReadByAnotherManager) {
  FLOE_ASSERT_OK(manager_->Mount(request_));
  ReadBlocks({7, 3, 90, 60, 61, 62});
  FLOE_ASSERT_OK(manager_->Unmount("scattered", false));
  StartManager("cachefiles");
  for (const TestBlob& blob : blobs_) {
    client_->AddBlob(blob.blob);
  }
  FLOE_ASSERT_OK(manager_->Mount(request_));
  std::vector<uint64_t> all(kBlocks);
  for (uint64_t i = 0; i < kBlocks; ++i) {
    all[i] = i;
  }
  std::ranges::shuffle(all, std::mt19937(5));
  ReadBlocks(all);
  FLOE_EXPECT_OK(manager_->Unmount("scattered", false));
}

}  // namespace
}  // namespace floe::cachemgr::testing
