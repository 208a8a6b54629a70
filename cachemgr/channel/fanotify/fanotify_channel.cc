#include "cachemgr/channel/fanotify/fanotify_channel.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <set>
#include <utility>

#include "base/file.h"
#include "base/log.h"
#include "base/thread_name.h"
#include "cachemgr/channel/channel_probe.h"
#include "cachemgr/channel/erofs_mount.h"
#include "cachemgr/channel/errno_map.h"
#include "cachemgr/channel/fanotify/fanotify_abi.h"

namespace floe::cachemgr {
namespace {

constexpr auto kSlotPause = std::chrono::milliseconds(1);
constexpr rlim_t kMostNumbers = 1U << 20U;  // The kernel's own limit, as it comes (fs.nr_open).

Result<FileId> FileOf(int fd) {
  struct stat status{};
  if (::fstat(fd, &status) != 0) {
    return ErrnoError(errno, "stat the file of a fanotify event");
  }
  return FileId{.device = status.st_dev, .inode = status.st_ino};
}

Result<UniqueFd> OpenGroup() {
  UniqueFd group(::fanotify_init(FAN_CLASS_PRE_CONTENT | FAN_CLOEXEC | FAN_NONBLOCK |
                                     FAN_UNLIMITED_QUEUE | FAN_UNLIMITED_MARKS,
                                 O_RDONLY | O_LARGEFILE | O_CLOEXEC));
  if (!group.valid()) {
    return errno == EPERM ? FailedPrecondition("fanotify needs CAP_SYS_ADMIN")
                          : ErrnoError(errno, "fanotify_init");
  }
  return group;
}

Result<void> Mark(int group, int file, unsigned flags) {
  if (::fanotify_mark(group, flags, kFanPreAccess, file, nullptr) == 0) {
    return Ok();
  }
  if (errno == EINVAL) {
    return FailedPrecondition("no pre-content events: Linux 6.14 or later is needed");
  }
  if (errno == EOPNOTSUPP) {
    return FailedPrecondition("the cache file system has no pre-content events (ext4, xfs, btrfs)");
  }
  return ErrnoError(errno, "fanotify_mark");
}

// What the kernel takes; EROFS makes EIO of all of them.
uint32_t ResponseFor(const Result<void>& outcome) {
  if (outcome) {
    return FAN_ALLOW;
  }
  const int error = ErrnoForReply(outcome.error());
  return FanDenyErrno(error == ENOSPC ? ENOSPC : EIO);
}

std::string BlobName(const std::string& key) {
  return std::string(FanotifyChannel::kBlobPrefix) + key;
}

}  // namespace

void FanotifyChannel::Line::Answer(uint32_t slot, int number, const Result<void>& outcome) {
  const fanotify_response response{.fd = number, .response = ResponseFor(outcome)};
  // ENOENT: nobody waits any more.
  if (::write(group.get(), &response, sizeof(response)) < 0 && errno != ENOENT) {
    LogError("fanotify answer failed, a reader waits on fd={} errno={}", number, errno);
    return;
  }
  const bool foreign = journal->TakeForeign(number);
  journal->Clear(slot);
  // Last: a journaled event's number must not be given to another.
  if (!foreign) {
    ::close(number);
  }
}

class FanotifyChannel::Reply final : public DemandReply {
 public:
  Reply(std::shared_ptr<Line> line, uint32_t slot, int number)
      : line_(std::move(line)), slot_(slot), number_(number) {}
  void Send(const Result<void>& outcome) override {
    // Left where it is, the event waits for the next process.
    if (outcome || !line_->leave_failures) {
      line_->Answer(slot_, number_, outcome);
    }
  }

 private:
  const std::shared_ptr<Line> line_;
  const uint32_t slot_;
  const int number_;
};

/// One of several demands for one event: the last that ends answers, with the first failure.
class FanotifyChannel::JoinedReply final : public DemandReply {
 public:
  struct Shared {
    Shared(std::unique_ptr<DemandReply> reply_in, size_t demands)
        : reply(std::move(reply_in)), pending(demands) {}
    const std::unique_ptr<DemandReply> reply;
    Mutex mutex;
    size_t pending FLOE_GUARDED_BY(mutex);
    Result<void> outcome FLOE_GUARDED_BY(mutex);
    void Done(const Result<void>& one) {
      Result<void> answer = Ok();
      {
        const MutexLock lock(mutex);
        if (!one && outcome) {
          outcome = one;
        }
        if (--pending > 0) {
          return;
        }
        answer = outcome;
      }
      reply->Send(answer);
    }
  };
  explicit JoinedReply(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}
  void Send(const Result<void>& outcome) override { shared_->Done(outcome); }

 private:
  const std::shared_ptr<Shared> shared_;
};

class FanotifyChannel::Registration final : public DeviceRegistration {
 public:
  Registration(FanotifyChannel& channel, const FileId& file) : channel_(channel), file_(file) {}
  ~Registration() override { channel_.Unregister(file_); }
  Registration(const Registration&) = delete;
  Registration& operator=(const Registration&) = delete;
  void Completed() override { channel_.Completed(file_); }

 private:
  FanotifyChannel& channel_;
  const FileId file_;
};

// --- life ---

Result<std::unique_ptr<FanotifyChannel>> FanotifyChannel::Create(const Options& options) {
  FLOE_ASSIGN_OR_RETURN(UniqueFd group, OpenGroup());
  FLOE_ASSIGN_OR_RETURN(auto journal, FanotifyJournal::Create());
  if (options.keeper != nullptr) {
    FLOE_RETURN_IF_ERROR(options.keeper->Keep(kJournalName, journal->memfd()));
    FLOE_RETURN_IF_ERROR(options.keeper->Keep(kGroupName, group.get()));
  }
  std::unique_ptr<FanotifyChannel> channel(
      new FanotifyChannel(options, std::move(group), std::move(journal), /*taken_over=*/false));
  if (!channel->stop_.valid()) {
    return ErrnoError(errno, "eventfd");
  }
  channel->StartReaders();
  return channel;
}

Result<std::unique_ptr<FanotifyChannel>> FanotifyChannel::TakeOver(const Options& options,
                                                                   Former former) {
  std::unique_ptr<FanotifyChannel> channel(new FanotifyChannel(
      options, std::move(former.group), std::move(former.journal), /*taken_over=*/true));
  channel->former_keys_ = std::move(former.keys);
  if (!channel->stop_.valid()) {
    channel->handed_over_ = true;  // Not ours to release.
    return ErrnoError(errno, "eventfd");
  }
  return channel;
}

void FanotifyChannel::DenyAll(UniqueFd group) {
  if (::fanotify_mark(group.get(), FAN_MARK_FLUSH, 0, AT_FDCWD, nullptr) != 0) {
    LogError("marks of a lost group not removed errno={}", errno);
  }
  const auto deny = [&](int number) {
    const fanotify_response response{.fd = number, .response = FanDenyErrno(EIO)};
    (void)::write(group.get(), &response, sizeof(response));  // ENOENT: no event has it.
  };
  // First what its former reader had read, under numbers that only that process knew.
  rlimit limit{};
  (void)::getrlimit(RLIMIT_NOFILE, &limit);
  const int end = static_cast<int>(std::min<rlim_t>(limit.rlim_max, kMostNumbers));
  for (int number = 0; number < end; ++number) {
    deny(number);
  }
  alignas(fanotify_event_metadata) std::array<std::byte, 4096> buffer{};
  ssize_t length = 0;
  while ((length = ::read(group.get(), buffer.data(), buffer.size())) > 0) {
    size_t at = 0;
    fanotify_event_metadata event{};
    while (at + sizeof(event) <= static_cast<size_t>(length)) {
      std::memcpy(&event, buffer.data() + at, sizeof(event));
      const UniqueFd fd(event.fd);
      deny(event.fd);
      at += std::max<size_t>(event.event_len, sizeof(event));
    }
  }
}

FanotifyChannel::FanotifyChannel(const Options& options, UniqueFd group,
                                 std::unique_ptr<FanotifyJournal> journal, bool taken_over)
    : options_(options),
      taken_over_(taken_over),
      line_(std::make_shared<Line>()),
      stop_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  line_->group = std::move(group);
  line_->journal = std::move(journal);
}

FanotifyChannel::~FanotifyChannel() {
  EndReaders();
  if (options_.keeper != nullptr && !handed_over_) {
    options_.keeper->Release(kGroupName);
    options_.keeper->Release(kJournalName);
  }
}

bool FanotifyChannel::HandOver() {
  if (options_.keeper == nullptr) {
    return false;
  }
  if (auto there = options_.keeper->Check(); !there) {
    LogError("no keeper: what is not cached will read as ZEROS in mounts in use reason=\"{}\"",
             there.error().message);
    return false;
  }
  line_->leave_failures = true;
  handed_over_ = true;
  EndReaders();
  return true;
}

void FanotifyChannel::StartReaders() {
  for (unsigned i = 0; i < options_.readers; ++i) {
    readers_.emplace_back([this, i] {
      SetThreadName(fmt::format("fanotify-{}", i));
      Serve();
    });
  }
}

void FanotifyChannel::EndReaders() {
  stopping_ = true;
  const uint64_t one = 1;
  if (::write(stop_.get(), &one, sizeof(one)) < 0) {
    LogError("fanotify readers not woken errno={}", errno);
  }
  readers_.clear();
}

// --- the control plane ---

Result<std::unique_ptr<DeviceRegistration>> FanotifyChannel::Register(
    const DeviceSpec& spec, std::shared_ptr<DemandHandler> handler) {
  FLOE_ASSIGN_OR_RETURN(const FileId file, FileOf(spec.data_fd));
  {
    const MutexLock lock(mutex_);
    Device& device = devices_[file];
    if (device.handler == nullptr) {
      device.spec = spec;
      device.handler = std::move(handler);
    }
    ++device.registrations;
  }
  // From here on its end takes everything back.
  auto registration = std::make_unique<Registration>(*this, file);
  FLOE_RETURN_IF_ERROR(Arm(file));
  return std::unique_ptr<DeviceRegistration>(std::move(registration));
}

Result<void> FanotifyChannel::Arm(const FileId& file) {
  const MutexLock marks_lock(marks_mutex_);
  DeviceSpec spec;
  {
    const MutexLock lock(mutex_);
    const Device& device = devices_.at(file);
    if (device.marked) {
      return Ok();
    }
    spec = device.spec;
  }
  // The keeper first: a marked file can be written only through what was opened before.
  if (options_.keeper != nullptr) {
    FLOE_RETURN_IF_ERROR(options_.keeper->Keep(BlobName(spec.key), spec.data_fd));
  }
  if (auto marked = Mark(line_->group.get(), spec.data_fd, FAN_MARK_ADD); !marked) {
    if (options_.keeper != nullptr) {
      options_.keeper->Release(BlobName(spec.key));
    }
    return marked;
  }
  const MutexLock lock(mutex_);
  devices_.at(file).marked = true;
  return Ok();
}

void FanotifyChannel::Disarm(const FileId& file) {
  DeviceSpec spec;
  {
    const MutexLock lock(mutex_);
    auto found = devices_.find(file);
    if (found == devices_.end() || !found->second.marked) {
      return;
    }
    found->second.marked = false;
    spec = found->second.spec;
  }
  if (auto removed = Mark(line_->group.get(), spec.data_fd, FAN_MARK_REMOVE); !removed) {
    LogError("mark not removed key={} reason=\"{}\"", spec.key, removed.error().message);
  }
  if (options_.keeper != nullptr) {
    options_.keeper->Release(BlobName(spec.key));
  }
}

void FanotifyChannel::Completed(const FileId& file) {
  const MutexLock marks_lock(marks_mutex_);
  Disarm(file);
}

void FanotifyChannel::Forget(const std::string& key, int data_fd) {
  const MutexLock marks_lock(marks_mutex_);
  if (auto removed = Mark(line_->group.get(), data_fd, FAN_MARK_REMOVE);
      !removed && removed.error().os_errno != ENOENT) {
    LogError("mark not removed key={} reason=\"{}\"", key, removed.error().message);
    return;
  }
  options_.keeper->Release(BlobName(key));
}

void FanotifyChannel::Unregister(const FileId& file) {
  Device last;  // Destroyed without the locks.
  const MutexLock marks_lock(marks_mutex_);
  {
    const MutexLock lock(mutex_);
    if (--devices_.at(file).registrations > 0) {
      return;
    }
  }
  if (!handed_over_) {
    Disarm(file);
  }
  const MutexLock lock(mutex_);
  last = std::move(devices_.at(file));
  devices_.erase(file);
}

Result<dev_t> FanotifyChannel::Mount(const MountSpec& spec) {
  FLOE_ASSIGN_OR_RETURN(const UniqueFd bootstrap, OpenFile(spec.bootstrap, O_RDONLY));
  ErofsMountSpec erofs{.attachment = Attachment::kFile, .bootstrap_fd = bootstrap.get()};
  for (const MountDevice& device : spec.devices) {
    erofs.device_fds.push_back(device.data_fd);
  }
  return MountErofs(erofs, spec.target);
}

Result<void> FanotifyChannel::Probe(const std::filesystem::path& scratch) {
  return ProbeChannel(*this, scratch);
}

ChannelCounters FanotifyChannel::counters() const { return {.reads = reads_.load()}; }

// --- events ---

void FanotifyChannel::Serve() {
  std::array<pollfd, 2> polled{pollfd{.fd = line_->group.get(), .events = POLLIN, .revents = 0},
                               pollfd{.fd = stop_.get(), .events = POLLIN, .revents = 0}};
  while (!stopping_) {
    ::poll(polled.data(), polled.size(), -1);
    while (!stopping_ && ReadOne()) {
    }
  }
}

bool FanotifyChannel::ReadOne() {
  const auto slot = line_->journal->Take();
  if (!slot) {
    // As many readers wait already: those behind them wait in the kernel.
    std::this_thread::sleep_for(kSlotPause);
    return true;
  }
  const std::span<std::byte> buffer = line_->journal->Buffer(*slot);
  if (::read(line_->group.get(), buffer.data(), buffer.size()) <= 0) {
    const int error = errno;
    line_->journal->Clear(*slot);
    if (error != EAGAIN && error != EINTR) {
      // The kernel has refused the event.
      LogError("fanotify event lost errno={}", error);
    }
    return error != EAGAIN;
  }
  ++reads_;
  Handle(*slot);
  return true;
}

void FanotifyChannel::Handle(uint32_t slot) {
  auto event = line_->journal->Event(slot);
  if (!event) {
    Refuse(slot, event.error());
    return;
  }
  const auto file = FileOf(event->fd);
  if (!file) {
    line_->Answer(slot, event->fd, file.error());
    return;
  }
  line_->journal->SetFile(slot, *file);
  Demand(slot, *event, *file);
}

void FanotifyChannel::Refuse(uint32_t slot, const Error& why) {
  LogError("fanotify event refused reason=\"{}\"", why.message);
  if (const int number = line_->journal->Number(slot); number >= 0) {
    line_->Answer(slot, number, why);
  } else {
    line_->journal->Clear(slot);
  }
}

FanotifyChannel::Demanded FanotifyChannel::PartOf(const Device& device, ByteRange range) {
  const uint64_t size_bytes = device.spec.size_bytes;
  const uint64_t offset = std::min(range.offset, size_bytes);
  return {.handler = device.handler,
          .range = {.offset = offset, .length = std::min(range.length, size_bytes - offset)}};
}

void FanotifyChannel::Demand(uint32_t slot, const FanotifyEvent& event, const FileId& file) {
  Demanded one;
  {
    const MutexLock lock(mutex_);
    if (auto found = devices_.find(file); found != devices_.end()) {
      one = PartOf(found->second, event.range);
    }
  }
  if (one.handler == nullptr || event.range.empty()) {
    LogError("fanotify event refused inode={} offset={} length={} known={}", file.inode,
             event.range.offset, event.range.length, one.handler != nullptr);
    line_->Answer(slot, event.fd, Internal("an event of no file or range that is known"));
  } else if (one.range.empty() || one.handler->TryHit(one.range)) {
    line_->Answer(slot, event.fd, Ok());
  } else {
    one.handler->Demand(one.range, std::make_unique<Reply>(line_, slot, event.fd));
  }
}

void FanotifyChannel::DemandOfAll(uint32_t slot, const FanotifyEvent& event) {
  std::vector<Demanded> absent;
  {
    const MutexLock lock(mutex_);
    for (const auto& [file, device] : devices_) {
      Demanded part = PartOf(device, event.range);
      if (device.marked && !part.range.empty() && !part.handler->TryHit(part.range)) {
        absent.push_back(std::move(part));
      }
    }
  }
  LogWarning("fanotify event of an unknown file offset={} length={} candidates={}",
             event.range.offset, event.range.length, absent.size());
  if (!all_registered_ || event.range.empty()) {
    line_->Answer(slot, event.fd, Internal("an event of a file that is not known"));
    return;
  }
  if (absent.empty()) {
    line_->Answer(slot, event.fd, Ok());
    return;
  }
  auto shared = std::make_shared<JoinedReply::Shared>(
      std::make_unique<Reply>(line_, slot, event.fd), absent.size());
  for (const Demanded& one : absent) {
    one.handler->Demand(one.range, std::make_unique<JoinedReply>(shared));
  }
}

bool FanotifyChannel::AllRegistered() {
  std::set<std::string> registered;
  {
    const MutexLock lock(mutex_);
    for (const auto& [file, device] : devices_) {
      registered.insert(device.spec.key);
    }
  }
  return std::ranges::all_of(former_keys_,
                             [&](const std::string& key) { return registered.contains(key); });
}

void FanotifyChannel::Resume() {
  all_registered_ = AllRegistered();
  for (const uint32_t slot : line_->journal->inherited()) {
    const auto event = line_->journal->Event(slot);
    if (!event) {
      Refuse(slot, event.error());
      continue;
    }
    if (const std::optional<FileId> file = event->file; file) {
      Demand(slot, *event, *file);
    } else {
      DemandOfAll(slot, *event);
    }
  }
  StartReaders();
}

}  // namespace floe::cachemgr
