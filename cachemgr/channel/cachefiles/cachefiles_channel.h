#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "cachemgr/channel/cachefiles/cachefiles_culler.h"
#include "cachemgr/channel/cachefiles/cachefiles_device.h"
#include "cachemgr/channel/cachefiles/cachefiles_file.h"
#include "cachemgr/channel/channel.h"
#include "cachemgr/keeper/keeper_client.h"

namespace floe::cachemgr {

/// EROFS over fscache: bootstrap and blobs are cookies of one volume, named by digest and device
/// key; the kernel keeps their bytes in files of its own and sends a READ for what is not there
/// (Linux 5.19 to 7.1; docs/channels.md). Fails closed: when the last descriptor of the device is
/// gone, reads of what is not in the page cache fail.
///
/// Threads: "cachefiles" reads messages and never waits for anything; "cf-attach" brings new files
/// into use (the kernel attaches them a moment after the answer), writes bootstraps and the zeros
/// between files; "cf-cull" makes room.
class CachefilesChannel final : public OnDemandChannel {
 public:
  struct Options {
    /// The kernel's cache: an existing directory on a file system with user xattrs.
    std::filesystem::path directory = {};
    CullLimits limits = {};
    /// Holds the device over the end of this process where the kernel can hand requests on (6.8);
    /// null: nobody does.
    KeeperClient* keeper = nullptr;
    /// What the keeper held: bound to `directory` by a former process. Invalid: it is opened.
    UniqueFd held = {};
  };
  static constexpr const char* kHeldName = "cachefiles";
  /// FailedPrecondition says what is missing; Unavailable: another program has the device;
  /// Unimplemented: a former process bound it, and this kernel cannot hand its requests on.
  static Result<std::unique_ptr<CachefilesChannel>> Create(Options options);
  ~CachefilesChannel() override;

  [[nodiscard]] std::string_view name() const override { return "cachefiles"; }
  [[nodiscard]] bool MixesWithPlainFiles() const override { return false; }
  Result<std::unique_ptr<DeviceRegistration>> Register(
      const DeviceSpec& spec, std::shared_ptr<DemandHandler> handler) override;
  Result<dev_t> Mount(const MountSpec& spec) override;
  Result<void> Probe(const std::filesystem::path& scratch) override;

  [[nodiscard]] bool taken_over() const override { return taken_over_; }
  /// The mount's bootstrap can be opened again.
  Result<void> Adopt(const MountSpec& spec, dev_t device) override;
  void Resume() override;
  bool HandOver() override;

  [[nodiscard]] ChannelCounters counters() const override;

 private:
  class Registration;
  class Reply;

  /// What an OPEN of a key is answered with.
  struct Cookie {
    uint64_t size_bytes = 0;
    std::shared_ptr<DemandHandler> handler;  ///< Null: a bootstrap.
    std::filesystem::path bootstrap;
    unsigned registrations = 0;
  };
  struct PendingRead {
    uint32_t message = 0;
    ByteRange range;
  };
  /// A cookie that the kernel has open, from OPEN to CLOSE.
  struct Object {
    Object(Cookie cookie_in, std::string key_in, std::shared_ptr<CachefilesFile> file_in)
        : cookie(std::move(cookie_in)), key(std::move(key_in)), file(std::move(file_in)) {}
    const Cookie cookie;
    const std::string key;
    const std::shared_ptr<CachefilesFile> file;
    Mutex mutex;
    bool attached FLOE_GUARDED_BY(mutex) = false;
    Result<void> outcome FLOE_GUARDED_BY(mutex);              ///< Of attaching it.
    std::vector<PendingRead> waiting FLOE_GUARDED_BY(mutex);  ///< Until it is attached.
  };
  /// For the attacher: a file to bring into use, or a read of one that is in use.
  struct Task {
    std::shared_ptr<Object> object;
    std::optional<PendingRead> read = {};
    std::chrono::steady_clock::time_point give_up = {};
  };
  struct Target {
    std::filesystem::path path;
    dev_t device = 0;
  };

  CachefilesChannel(CachefilesDevice device, Options options, std::string domain, bool held,
                    bool taken_over);
  void EndThreads();
  void Unregister(const std::string& key);

  // On the reader.
  void Serve();
  void Handle(CachefilesMessage message);
  void HandleOpen(const CachefilesMessage& message, const CachefilesOpen& open);
  void HandleRead(const CachefilesMessage& message, const CachefilesRead& read);
  void HandleClose(const CachefilesMessage& message);
  void Enqueue(Task task);

  // On the attacher.
  void RunAttacher();
  void Run(Task task);
  /// Unavailable: not yet.
  static Result<void> Attach(Object& object);
  static Result<void> WriteBootstrap(Object& object, const std::vector<ByteRange>& present);
  /// A read that came before its object was attached.
  void Answer(const std::shared_ptr<Object>& object, const PendingRead& read);
  /// A read of what is there already.
  void AnswerHit(const std::shared_ptr<Object>& object, const PendingRead& read);
  /// A read of a bootstrap that could not be written.
  void AnswerBootstrap(const std::shared_ptr<Object>& object, const PendingRead& read);

  static Result<void> FillBlanks(const Object& object, ByteRange range);
  void Complete(const Object& object, const PendingRead& read);
  /// The fsid is the key of the bootstrap's cookie.
  Result<void> RegisterBootstrap(const std::string& fsid, const std::filesystem::path& path);
  void ForgetBootstraps();
  /// Waits until the kernel has opened all devices of a new mount.
  Result<void> AwaitOpens(const MountSpec& spec);
  /// Waits until the bootstrap of a new mount is written.
  Result<void> AwaitBootstrap(const std::string& fsid);
  /// Another mount of a file system that is mounted already: an fsid can be mounted once.
  Result<UniqueFd> CloneMount(const std::string& fsid);

  const Options options_;
  const std::string domain_;
  const bool held_;
  const bool taken_over_;
  CachefilesDevice device_;
  std::atomic<uint64_t> opens_ = 0, refused_ = 0, reads_ = 0, closes_ = 0;
  const UniqueFd stop_;  ///< An eventfd.
  std::atomic<bool> handing_over_ = false;

  Mutex mutex_;
  CondVar work_;
  bool stopping_ FLOE_GUARDED_BY(mutex_) = false;
  std::map<std::string, Cookie> cookies_ FLOE_GUARDED_BY(mutex_);
  std::map<uint32_t, std::shared_ptr<Object>> objects_ FLOE_GUARDED_BY(mutex_);
  std::deque<Task> tasks_ FLOE_GUARDED_BY(mutex_);
  /// Where the file system of each fsid was mounted: some of it may be unmounted again, and other
  /// things mounted there.
  std::map<std::string, std::vector<Target>> targets_ FLOE_GUARDED_BY(mutex_);
  /// The kernel may have them open since before the take-over: it sends no OPEN for the next mount.
  std::set<std::string> adopted_ FLOE_GUARDED_BY(mutex_);

  std::unique_ptr<CachefilesCuller> culler_;
  std::jthread attacher_;
  std::jthread reader_;
};

}  // namespace floe::cachemgr
