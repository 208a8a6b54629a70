#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "cachemgr/channel/channel.h"
#include "cachemgr/channel/fanotify/fanotify_journal.h"
#include "cachemgr/keeper/keeper_client.h"

namespace floe::cachemgr {

/// Pre-content events (FAN_PRE_ACCESS, Linux 6.14) on the data files that stand under an EROFS
/// mount: a filled range still costs an event, a complete blob loses its mark and costs nothing.
///
/// When the last holder of the group dies, the kernel lets every pending and later read through,
/// and holes read as zeros. So a keeper has the group, the journal of unanswered events and a
/// writable descriptor of each blob that was opened before its mark (writing through a later one
/// would raise an event that only this process could answer).
///
/// Threads: "fanotify-N" read events and wait for nothing else.
class FanotifyChannel final : public OnDemandChannel {
 public:
  struct Options {
    unsigned readers = 2;
    /// Null: nobody, which only a probe may want.
    KeeperClient* keeper = nullptr;
  };
  /// What the keeper held for a former process.
  struct Former {
    UniqueFd group = {};
    std::unique_ptr<FanotifyJournal> journal = {};  ///< Its numbers are occupied.
    std::vector<std::string> keys = {};             ///< Of the devices that it had marked.
  };
  /// FailedPrecondition: this kernel has no such events, or the keeper none of our descriptors.
  static Result<std::unique_ptr<FanotifyChannel>> Create(const Options& options);
  /// Goes on with it. When that fails, the keeper's copies stay what they are.
  static Result<std::unique_ptr<FanotifyChannel>> TakeOver(const Options& options, Former former);
  /// For a group that cannot be taken over, after every file that it watches is watched by another:
  /// fails what waits in it and lets it go.
  static void DenyAll(UniqueFd group);
  ~FanotifyChannel() override;

  [[nodiscard]] std::string_view name() const override { return "fanotify"; }
  [[nodiscard]] bool MixesWithPlainFiles() const override { return true; }
  Result<std::unique_ptr<DeviceRegistration>> Register(
      const DeviceSpec& spec, std::shared_ptr<DemandHandler> handler) override;
  Result<dev_t> Mount(const MountSpec& spec) override;
  Result<void> Probe(const std::filesystem::path& scratch) override;
  [[nodiscard]] bool taken_over() const override { return taken_over_; }
  void Resume() override;
  bool HandOver() override;
  void Forget(const std::string& key, int data_fd) override;
  [[nodiscard]] ChannelCounters counters() const override;

  static constexpr const char* kGroupName = "fanotify:group";
  static constexpr const char* kJournalName = "fanotify:journal";
  static constexpr std::string_view kBlobPrefix = "blob:";

 private:
  class Registration;
  class Reply;
  class JoinedReply;

  /// What answers need; shared with those that are under way.
  struct Line {
    UniqueFd group;
    std::unique_ptr<FanotifyJournal> journal;
    std::atomic<bool> leave_failures = false;
    /// Answers, frees the slot, closes the event's descriptor. What the kernel does not take keeps
    /// all three: another event of this number would be answered in its stead.
    void Answer(uint32_t slot, int number, const Result<void>& outcome);
  };
  struct Device {
    DeviceSpec spec;
    std::shared_ptr<DemandHandler> handler;
    unsigned registrations = 0;
    bool marked = false;
  };

  /// A device of an event, and what of it is asked for.
  struct Demanded {
    std::shared_ptr<DemandHandler> handler;
    ByteRange range;
  };

  FanotifyChannel(const Options& options, UniqueFd group, std::unique_ptr<FanotifyJournal> journal,
                  bool taken_over);
  void StartReaders();
  void EndReaders();

  // On a reader.
  void Serve();
  /// False: no event waits.
  bool ReadOne();
  void Handle(uint32_t slot);
  /// An event that cannot be read.
  void Refuse(uint32_t slot, const Error& why);

  void Demand(uint32_t slot, const FanotifyEvent& event, const FileId& file);
  /// An event whose file nobody knows any more: it is one of the marked ones, so its range is
  /// filled in all of them.
  void DemandOfAll(uint32_t slot, const FanotifyEvent& event);
  static Demanded PartOf(const Device& device, ByteRange range);
  bool AllRegistered();

  Result<void> Arm(const FileId& file);
  void Disarm(const FileId& file) FLOE_REQUIRES(marks_mutex_);
  void Completed(const FileId& file);
  void Unregister(const FileId& file);

  const Options options_;
  const bool taken_over_;
  const std::shared_ptr<Line> line_;
  const UniqueFd stop_;  ///< An eventfd.
  std::atomic<uint64_t> reads_ = 0;
  std::atomic<bool> stopping_ = false;
  std::vector<std::string> former_keys_;
  bool all_registered_ = true;  ///< Every device that the former process had marked.
  bool handed_over_ = false;    ///< The keeper's copies are for the next process.

  Mutex marks_mutex_;  ///< One change of marks at a time; taken before mutex_.
  Mutex mutex_;        ///< The readers', too.
  std::map<FileId, Device> devices_ FLOE_GUARDED_BY(mutex_);
  std::vector<std::jthread> readers_;
};

}  // namespace floe::cachemgr
