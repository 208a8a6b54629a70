#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/result.h"
#include "cachemgr/cache/blob_store.h"
#include "cachemgr/cache/counters.h"
#include "cachemgr/cache/evictor.h"
#include "cachemgr/cache/filler.h"
#include "cachemgr/cache/sources.h"
#include "cachemgr/mounts/channels.h"
#include "cachemgr/mounts/inheritance.h"
#include "cachemgr/mounts/mount_table.h"
#include "cachemgr/root_directory.h"
#include "cachemgr/stream/layer_streamer.h"

namespace floe::cachemgr {

struct ManagerOptions {
  std::filesystem::path root;
  std::string channel = "auto";
  bool strict = false;  ///< Channels::Options::strict.
  unsigned readers = 2;
  CullLimits cull_limits = {};
  /// The keeper's socket; empty: keeper.sock in the root directory; "none": no keeper.
  std::string keeper_address = {};
  /// Started where no keeper answers; empty: nothing is started.
  std::filesystem::path keeper_program = {};
  FillOptions fill = {};
  CacheLimits cache = {};
  /// What was filled is made durable, and complete blobs are marked so, this often.
  std::chrono::milliseconds checkpoint_interval{5000};
};

struct BlobStatus {
  std::string key;
  std::string blob_digest;
  uint64_t device_bytes = 0, present_bytes = 0, disk_bytes = 0, blob_bytes = 0, fetched_bytes = 0;
  uint32_t mounts = 0;
  bool complete = false;
};

/// The cache manager without its socket: mounts, blobs, fills and the maintenance thread
/// ("maintenance"). Thread-safe. Start-up reads local files only.
class Manager {
 public:
  /// Takes over from a former process of this root: no thread may run yet (Inherit). `clock` must
  /// outlive this. FailedPrecondition: the root directory cannot be used.
  static Result<std::unique_ptr<Manager>> Create(const ManagerOptions& options,
                                                 RegistryClients::Factory clients,
                                                 const Clock& clock);
  ~Manager();
  Manager(const Manager&) = delete;
  Manager& operator=(const Manager&) = delete;

  Result<MountOutcome> Mount(const MountRequest& request) { return mounts_.Mount(request); }
  Result<void> Unmount(const std::string& id, bool detach) { return mounts_.Unmount(id, detach); }
  /// See LayerStreamer::Stream.
  Result<std::shared_ptr<const StreamedLayer>> StreamLayer(const StreamRequest& request,
                                                           const StreamControl& control) {
    return streamer_.Stream(request, control);
  }
  std::vector<Channels::ProbeResult> Probe() { return channels_.Probe(); }

  [[nodiscard]] std::vector<MountStatus> Mounts() const { return mounts_.List(); }
  std::vector<BlobStatus> Blobs();
  /// "connected", "none", or why it does not answer.
  [[nodiscard]] std::string KeeperState() const;
  [[nodiscard]] CacheUsage cache_usage() const { return evictor_.usage(); }
  [[nodiscard]] const Counters& counters() const { return counters_; }
  ChannelCounters channel_counters() { return channels_.counters(); }
  [[nodiscard]] uint64_t RegistryRequests() const { return clients_.Requests(); }
  [[nodiscard]] const std::filesystem::path& root() const { return root_.path; }
  [[nodiscard]] const std::string& channel() const { return channels_.configured(); }

  /// Ends the streams, unmounts what needs this process and is not in use, fails what still waits,
  /// makes durable what was filled. Mounts of complete blobs stay, and those whose channel the
  /// keeper keeps alive for the next process. Once.
  void Stop();

 private:
  Manager(const ManagerOptions& options, RootDirectory root, std::string boot_id,
          std::string instance, Inheritance inheritance, RegistryClients::Factory clients,
          const Clock& clock);
  void TakeOver();
  void CheckKeeper();
  void RunMaintenance();
  void CheckpointAll();  ///< On the maintenance thread, and after its end.

  const ManagerOptions options_;
  RootDirectory root_;
  Inheritance inheritance_;   ///< The keeper outlives the channels.
  bool keeper_lost_ = false;  ///< As it was logged; of the maintenance thread.
  Counters counters_;
  RegistryClients clients_;
  Filler filler_;
  BlobStore blobs_;
  Channels channels_;  // Destroyed before the filler: its readers ask it for more until then.
  MountTable mounts_;
  Evictor evictor_;
  LayerStreamer streamer_;
  LogBudget checkpoint_failures_;
  std::set<std::string> told_complete_;  ///< Keys that the channels know; of CheckpointAll.

  Mutex mutex_;
  CondVar wake_;
  bool stopping_ FLOE_GUARDED_BY(mutex_) = false;
  std::jthread maintenance_;
};

}  // namespace floe::cachemgr
