#include "cachemgr/channel/cachefiles/cachefiles_channel.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <system_error>
#include <utility>

#include "base/file.h"
#include "base/log.h"
#include "base/thread_name.h"
#include "cachemgr/channel/channel_probe.h"
#include "cachemgr/channel/erofs_mount.h"

namespace floe::cachemgr {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTag = "floe";
// Beside what the kernel keeps there.
constexpr const char* kDomainFile = "domain";
constexpr std::chrono::milliseconds kAttachRetry{1};
constexpr std::chrono::seconds kAttachTimeout{10};
constexpr uint64_t kBootstrapStep = 1U << 20U;
constexpr int kMaxFsids = 64;
constexpr int kMaxDomains = 1000;

bool HasMounts(const std::string& domain) {
  std::error_code error;
  for (fs::directory_iterator it("/sys/fs/erofs", error), end; !error && it != end;
       it.increment(error)) {
    if (it->path().filename().native().starts_with(domain + ",")) {
      return true;
    }
  }
  return false;
}

// One domain for the node: blobs with the same key are one cookie, whatever images draw on them.
// But mounts that outlived a cache keep its dead cookies in their domain, and new mounts would find
// them there: while there are any, the next name is used.
std::string FreeDomain() {
  std::string domain = "floe";
  for (int i = 2; HasMounts(domain) && i < kMaxDomains; ++i) {
    domain = fmt::format("floe-{}", i);
  }
  return domain;
}

Result<std::string> ChooseDomain(const fs::path& directory, bool taken_over) {
  if (taken_over) {
    // None when the former process ended before it had a mount.
    if (auto known = ReadFile(directory / kDomainFile); known) {
      return known;
    }
  }
  std::string domain = FreeDomain();
  FLOE_RETURN_IF_ERROR(WriteFileAtomically(directory / kDomainFile, domain));
  return domain;
}

}  // namespace

class CachefilesChannel::Registration final : public DeviceRegistration {
 public:
  Registration(CachefilesChannel& channel, std::string key)
      : channel_(channel), key_(std::move(key)) {}
  ~Registration() override { channel_.Unregister(key_); }
  Registration(const Registration&) = delete;
  Registration& operator=(const Registration&) = delete;

 private:
  CachefilesChannel& channel_;
  const std::string key_;
};

// A READ can only be completed. One that failed is completed without data: the kernel finds the
// hole again and gives the reader EIO.
class CachefilesChannel::Reply final : public DemandReply {
 public:
  Reply(CachefilesChannel& channel, std::shared_ptr<Object> object, PendingRead read)
      : channel_(channel), object_(std::move(object)), read_(read) {}
  void Send(const Result<void>& outcome) override {
    if (outcome) {
      if (auto written = FillBlanks(*object_, read_.range); !written) {
        LogDebug("zeros not written key={} offset={} length={} reason=\"{}\"", object_->key,
                 read_.range.offset, read_.range.length, written.error().message);
      }
    }
    channel_.Complete(*object_, read_);
  }

 private:
  CachefilesChannel& channel_;
  const std::shared_ptr<Object> object_;
  const PendingRead read_;
};

// What belongs to no file is zero, and no fill writes it.
Result<void> CachefilesChannel::FillBlanks(const Object& object, ByteRange range) {
  for (const ByteRange& blank : object.cookie.handler->Blanks(range)) {
    FLOE_RETURN_IF_ERROR(object.file->WriteZeros(blank));
  }
  return Ok();
}

void CachefilesChannel::Complete(const Object& object, const PendingRead& read) {
  if (handing_over_) {
    return;  // The next process is told of it again.
  }
  if (auto done = object.file->CompleteRead(read.message); !done) {
    // The reader was killed, or the cookie withdrawn.
    LogDebug("READ not completed key={} reason=\"{}\"", object.key, done.error().message);
  }
}

// --- start and end ---

Result<std::unique_ptr<CachefilesChannel>> CachefilesChannel::Create(Options options) {
  const bool taken_over = options.held.valid();
  CachefilesDevice device(std::move(options.held));
  FLOE_RETURN_IF_ERROR(CreateDirectories(options.directory));
  FLOE_ASSIGN_OR_RETURN(std::string domain, ChooseDomain(options.directory, taken_over));
  bool held = taken_over;
  if (taken_over) {
    FLOE_RETURN_IF_ERROR(device.Restore());
  } else {
    FLOE_ASSIGN_OR_RETURN(device, CachefilesDevice::Open());
    FLOE_RETURN_IF_ERROR(device.Bind(options.directory, kTag, options.limits));
    // A device that is held and cannot be taken over would lock the next process out.
    if (options.keeper != nullptr && device.Restore()) {
      const auto kept = options.keeper->Keep(kHeldName, device.fd());
      held = kept.has_value();
      if (!kept) {
        LogWarning("/dev/cachefiles not held reason=\"{}\"", kept.error().message);
      }
    }
  }
  std::unique_ptr<CachefilesChannel> channel(new CachefilesChannel(
      std::move(device), std::move(options), std::move(domain), held, taken_over));
  if (!channel->stop_.valid()) {
    return ErrnoError(errno, "eventfd");
  }
  if (!taken_over) {
    channel->Resume();
  }
  return channel;
}

CachefilesChannel::CachefilesChannel(CachefilesDevice device, Options options, std::string domain,
                                     bool held, bool taken_over)
    : options_(std::move(options)),
      domain_(std::move(domain)),
      held_(held),
      taken_over_(taken_over),
      device_(std::move(device)),
      stop_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

void CachefilesChannel::Resume() {
  culler_ = std::make_unique<CachefilesCuller>(
      device_,
      CachefilesCuller::Options{.directory = options_.directory, .limits = options_.limits});
  attacher_ = std::jthread([this] {
    SetThreadName("cf-attach");
    RunAttacher();
  });
  reader_ = std::jthread([this] {
    SetThreadName("cachefiles");
    Serve();
  });
}

CachefilesChannel::~CachefilesChannel() {
  EndThreads();
  if (held_ && !handing_over_) {
    options_.keeper->Release(kHeldName);
  }
}

bool CachefilesChannel::HandOver() {
  if (!held_ || !options_.keeper->Check()) {
    return false;
  }
  handing_over_ = true;
  EndThreads();
  return true;
}

void CachefilesChannel::EndThreads() {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
  }
  work_.NotifyAll();
  const uint64_t one = 1;
  if (::write(stop_.get(), &one, sizeof(one)) < 0) {
    LogError("cachefiles reader not woken errno={}", errno);
  }
  culler_.reset();
  reader_ = {};
  attacher_ = {};
}

// --- the control plane ---

Result<std::unique_ptr<DeviceRegistration>> CachefilesChannel::Register(
    const DeviceSpec& spec, std::shared_ptr<DemandHandler> handler) {
  const MutexLock lock(mutex_);
  auto [entry, is_new] = cookies_.try_emplace(spec.key);
  Cookie& cookie = entry->second;
  if (!is_new && cookie.size_bytes != spec.size_bytes) {
    return InvalidArgument("device {} is registered with {} bytes, not {}", spec.key,
                           cookie.size_bytes, spec.size_bytes);
  }
  cookie.size_bytes = spec.size_bytes;
  cookie.handler = std::move(handler);
  ++cookie.registrations;
  return std::unique_ptr<DeviceRegistration>(std::make_unique<Registration>(*this, spec.key));
}

void CachefilesChannel::Unregister(const std::string& key) {
  Cookie dropped;  // Destroyed without the lock.
  const MutexLock lock(mutex_);
  const auto entry = cookies_.find(key);
  if (--entry->second.registrations == 0) {
    dropped = std::move(entry->second);
    cookies_.erase(entry);
  }
}

// Those of mounts that are gone: their files went with them.
void CachefilesChannel::ForgetBootstraps() {
  std::vector<std::pair<std::string, fs::path>> known;
  {
    const MutexLock lock(mutex_);
    for (const auto& [key, cookie] : cookies_) {
      if (cookie.handler == nullptr) {
        known.emplace_back(key, cookie.bootstrap);
      }
    }
  }
  std::erase_if(known, [](const auto& entry) {
    std::error_code error;
    return fs::exists(entry.second, error);
  });
  const MutexLock lock(mutex_);
  for (const auto& [key, path] : known) {
    if (const auto found = cookies_.find(key);
        found != cookies_.end() && found->second.bootstrap == path) {
      cookies_.erase(found);
    }
  }
}

Result<void> CachefilesChannel::RegisterBootstrap(const std::string& fsid, const fs::path& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) {
    return ErrnoError(errno, path.native());
  }
  const MutexLock lock(mutex_);
  cookies_[fsid] = {.size_bytes = AlignUp(static_cast<uint64_t>(status.st_size), kBlockBytes),
                    .handler = nullptr,
                    .bootstrap = path,
                    .registrations = 1};
  return Ok();
}

Result<void> CachefilesChannel::Adopt(const MountSpec& spec, dev_t device) {
  const std::string fsid = spec.bootstrap_digest.hex();
  FLOE_RETURN_IF_ERROR(RegisterBootstrap(fsid, spec.bootstrap));
  const MutexLock lock(mutex_);
  targets_[fsid].push_back({.path = spec.target, .device = device});
  for (const MountDevice& blob : spec.devices) {
    adopted_.insert(blob.key);
  }
  return Ok();
}

// While a file system of this fsid lives, no other has its device number: what else may be mounted
// on the target by now is told apart by it.
Result<UniqueFd> CachefilesChannel::CloneMount(const std::string& fsid) {
  std::vector<Target> targets;
  {
    const MutexLock lock(mutex_);
    targets = targets_[fsid];
  }
  for (const Target& target : targets) {
    UniqueFd mount(static_cast<int>(
        ::open_tree(AT_FDCWD, target.path.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)));
    struct stat status{};
    if (mount.valid() && ::fstat(mount.get(), &status) == 0 && status.st_dev == target.device) {
      return mount;
    }
  }
  return NotFound("no mount of {} is left to clone", fsid);
}

Result<dev_t> CachefilesChannel::Mount(const MountSpec& spec) {
  std::string fsid = spec.bootstrap_digest.hex();
  UniqueFd mount;
  ForgetBootstraps();
  for (int attempt = 1;; ++attempt) {
    FLOE_RETURN_IF_ERROR(RegisterBootstrap(fsid, spec.bootstrap));
    auto made = CreateCookieMount(fsid, domain_);
    bool is_clone = false;
    if (!made && (made.error().os_errno == EEXIST || made.error().os_errno == EBUSY)) {
      // Mounted already: visibly, or detached and still in use.
      made = CloneMount(fsid);
      is_clone = made.has_value();
      if (!made && attempt < kMaxFsids) {
        // In front: sysfs tells file systems apart by the first 31 characters only.
        fsid = fmt::format("{}-{}", attempt + 1, spec.bootstrap_digest.hex());
        continue;
      }
    }
    if (!made) {
      return made.error();
    }
    mount = std::move(*made);
    if (!is_clone) {
      FLOE_RETURN_IF_ERROR(AwaitBootstrap(fsid));
      const MutexLock lock(mutex_);
      targets_[fsid].clear();  // Of an earlier file system.
    }
    break;
  }
  FLOE_RETURN_IF_ERROR(AwaitOpens(spec));
  struct stat status{};
  if (::fstat(mount.get(), &status) != 0) {
    return ErrnoError(errno, "fstat the mount");
  }
  FLOE_RETURN_IF_ERROR(AttachMount(mount.get(), spec.target));
  const MutexLock lock(mutex_);
  targets_[fsid].push_back({.path = spec.target, .device = status.st_dev});
  return status.st_dev;
}

// The kernel looks cookies up behind the mounter's back. What is not open when the mount is
// detached, or its registration gone, could not be opened any more.
Result<void> CachefilesChannel::AwaitOpens(const MountSpec& spec) {
  const auto give_up = std::chrono::steady_clock::now() + kAttachTimeout;
  const MutexLock lock(mutex_);
  for (const MountDevice& device : spec.devices) {
    while (!adopted_.contains(device.key) && std::ranges::none_of(objects_, [&](const auto& entry) {
      return entry.second->key == device.key;
    })) {
      if (!work_.WaitUntil(mutex_, give_up)) {
        return DeadlineExceeded("the kernel has not opened device {}", device.key);
      }
    }
  }
  return Ok();
}

Result<void> CachefilesChannel::AwaitBootstrap(const std::string& fsid) {
  const auto give_up = std::chrono::steady_clock::now() + kAttachTimeout;
  const MutexLock lock(mutex_);
  for (;;) {
    const auto found = std::ranges::find_if(
        objects_, [&](const auto& entry) { return entry.second->key == fsid; });
    if (found != objects_.end()) {
      const MutexLock object_lock(found->second->mutex);
      if (found->second->attached) {
        return found->second->outcome;
      }
    }
    if (!work_.WaitUntil(mutex_, give_up)) {
      return DeadlineExceeded("the bootstrap {} was not written in time", fsid);
    }
  }
}

Result<void> CachefilesChannel::Probe(const fs::path& scratch) {
  return ProbeChannel(*this, scratch);
}

ChannelCounters CachefilesChannel::counters() const {
  return {.opens = opens_, .opens_refused = refused_, .reads = reads_, .closes = closes_};
}

// --- on the reader ---

void CachefilesChannel::Serve() {
  std::array<pollfd, 2> waited = {pollfd{.fd = device_.fd(), .events = POLLIN, .revents = 0},
                                  pollfd{.fd = stop_.get(), .events = POLLIN, .revents = 0}};
  for (;;) {
    if (::poll(waited.data(), waited.size(), -1) < 0 && errno != EINTR) {
      LogError("cachefiles reader ends errno={}", errno);
      return;
    }
    if (waited[1].revents != 0) {
      return;
    }
    for (;;) {
      auto message = device_.Next();
      if (!message) {
        // One message is lost: an OPEN, say, for which there was no descriptor left. The kernel has
        // failed it.
        LogError("cachefiles reason=\"{}\"", message.error().message);
        break;
      }
      std::optional<CachefilesMessage>& next = *message;
      if (!next) {
        break;
      }
      Handle(std::move(*next));
    }
  }
}

void CachefilesChannel::Handle(CachefilesMessage message) {
  if (const auto* open = std::get_if<CachefilesOpen>(&message.body)) {
    HandleOpen(message, *open);
  } else if (const auto* read = std::get_if<CachefilesRead>(&message.body)) {
    HandleRead(message, *read);
  } else {
    HandleClose(message);
  }
}

void CachefilesChannel::HandleOpen(const CachefilesMessage& message, const CachefilesOpen& open) {
  UniqueFd fd(open.fd);
  Cookie cookie;
  bool known = false;
  if (open.volume_key == "erofs," + domain_) {
    const MutexLock lock(mutex_);
    if (const auto found = cookies_.find(open.cookie_key); found != cookies_.end()) {
      cookie = found->second;
      known = true;
    }
  }
  if (!known) {
    ++refused_;
    LogWarning("cookie refused volume=\"{}\" key=\"{}\" reason=\"nobody registered it\"",
               open.volume_key, open.cookie_key);
    (void)device_.RefuseOpen(message.id, ENOENT);
    return;
  }
  ++opens_;
  auto file = std::make_shared<CachefilesFile>(std::move(fd), cookie.size_bytes);
  auto object = std::make_shared<Object>(std::move(cookie), open.cookie_key, std::move(file));
  if (auto done = device_.CompleteOpen(message.id, object->file->size_bytes()); !done) {
    LogWarning("cookie not opened key={} reason=\"{}\"", open.cookie_key, done.error().message);
    return;
  }
  {
    const MutexLock lock(mutex_);
    objects_[message.object] = object;
  }
  Enqueue(
      {.object = std::move(object), .give_up = std::chrono::steady_clock::now() + kAttachTimeout});
}

void CachefilesChannel::Enqueue(Task task) {
  const MutexLock lock(mutex_);
  tasks_.push_back(std::move(task));
  work_.NotifyAll();
}

void CachefilesChannel::HandleRead(const CachefilesMessage& message, const CachefilesRead& read) {
  ++reads_;
  std::shared_ptr<Object> object;
  {
    const MutexLock lock(mutex_);
    if (const auto found = objects_.find(message.object); found != objects_.end()) {
      object = found->second;
    }
  }
  if (object == nullptr) {
    LogWarning("READ of an object that is not open object={}", message.object);
    return;
  }
  const PendingRead pending{.message = message.id, .range = read.range};
  {
    const MutexLock lock(object->mutex);
    if (!object->attached) {
      object->waiting.push_back(pending);
      return;
    }
  }
  const std::shared_ptr<DemandHandler>& handler = object->cookie.handler;
  if (handler == nullptr || handler->TryHit(read.range)) {
    Enqueue({.object = std::move(object), .read = pending});
    return;
  }
  handler->Demand(read.range, std::make_unique<Reply>(*this, object, pending));
}

void CachefilesChannel::HandleClose(const CachefilesMessage& message) {
  ++closes_;
  std::shared_ptr<Object> closed;
  {
    const MutexLock lock(mutex_);
    if (const auto found = objects_.find(message.object); found != objects_.end()) {
      closed = std::move(found->second);
      objects_.erase(found);
    }
  }
  if (closed != nullptr) {
    closed->file->Close();
  }
}

// --- on the attacher ---

void CachefilesChannel::RunAttacher() {
  for (;;) {
    Task task;
    {
      const MutexLock lock(mutex_);
      while (tasks_.empty() && !stopping_) {
        work_.Wait(mutex_);
      }
      if (stopping_) {
        return;
      }
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    Run(std::move(task));
  }
}

void CachefilesChannel::Run(Task task) {
  const std::shared_ptr<Object> object = task.object;
  if (task.read) {
    object->cookie.handler == nullptr ? AnswerBootstrap(object, *task.read)
                                      : AnswerHit(object, *task.read);
    return;
  }
  Result<void> done = Attach(*object);
  if (!done && done.error().code == ErrorCode::kUnavailable &&
      std::chrono::steady_clock::now() < task.give_up) {
    const auto next = std::chrono::steady_clock::now() + kAttachRetry;
    const MutexLock lock(mutex_);
    tasks_.push_back(std::move(task));
    work_.WaitUntil(mutex_, next);
    return;
  }
  if (!done) {
    LogWarning("cookie not attached key={} reason=\"{}\"", object->key, done.error().message);
  }
  std::vector<PendingRead> waiting;
  {
    const MutexLock lock(object->mutex);
    object->attached = true;
    object->outcome = std::move(done);
    waiting = std::exchange(object->waiting, {});
  }
  for (const PendingRead& read : waiting) {
    Answer(object, read);
  }
  const MutexLock lock(mutex_);
  work_.NotifyAll();
}

Result<void> CachefilesChannel::Attach(Object& object) {
  FLOE_ASSIGN_OR_RETURN(const auto present, object.file->PresentRanges());
  if (object.cookie.handler != nullptr) {
    object.cookie.handler->UseCacheFile(object.file, present);
    return Ok();
  }
  return WriteBootstrap(object, present);
}

void CachefilesChannel::Answer(const std::shared_ptr<Object>& object, const PendingRead& read) {
  const std::shared_ptr<DemandHandler>& handler = object->cookie.handler;
  if (handler == nullptr) {
    Complete(*object, read);
  } else if (handler->TryHit(read.range)) {
    AnswerHit(object, read);
  } else {
    handler->Demand(read.range, std::make_unique<Reply>(*this, object, read));
  }
}

// A bootstrap is written whole before it counts as attached: that has failed, and gets another try.
void CachefilesChannel::AnswerBootstrap(const std::shared_ptr<Object>& object,
                                        const PendingRead& read) {
  if (auto written = Attach(*object); !written) {
    LogWarning("bootstrap not written key={} reason=\"{}\"", object->key, written.error().message);
  }
  Complete(*object, read);
}

// The kernel found a hole a moment ago. Either it was filled meanwhile or belongs to no file; or
// the file lost what was written to it, and the presence is wrong.
void CachefilesChannel::AnswerHit(const std::shared_ptr<Object>& object, const PendingRead& read) {
  const auto blanks = FillBlanks(*object, read.range);
  const auto hole = object->file->HasHole(read.range);
  if (!blanks || !hole || !*hole) {
    Complete(*object, read);
    return;
  }
  LogWarning("presence was wrong key={} offset={} length={}", object->key, read.range.offset,
             read.range.length);
  const std::shared_ptr<DemandHandler>& handler = object->cookie.handler;
  if (auto present = object->file->PresentRanges()) {
    handler->UseCacheFile(object->file, *present);
  }
  handler->Demand(read.range, std::make_unique<Reply>(*this, object, read));
}

// The kernel reads metadata a page at a time: it gets all of it before it asks.
Result<void> CachefilesChannel::WriteBootstrap(Object& object,
                                               const std::vector<ByteRange>& present) {
  const ByteRange all{.offset = 0, .length = object.cookie.size_bytes};
  if (present.size() == 1 && present.front().Contains(all)) {
    return Ok();
  }
  FLOE_ASSIGN_OR_RETURN(const UniqueFd file, OpenFile(object.cookie.bootstrap, O_RDONLY));
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) {
    return ErrnoError(errno, object.cookie.bootstrap.native());
  }
  const auto file_bytes = static_cast<uint64_t>(status.st_size);
  if (AlignUp(file_bytes, kBlockBytes) != object.cookie.size_bytes) {
    return DataLoss("{} has changed its size", object.cookie.bootstrap.native());
  }
  const std::unique_ptr<std::byte[], decltype(&std::free)> buffer(
      static_cast<std::byte*>(std::aligned_alloc(kBlockBytes, kBootstrapStep)), &std::free);
  for (uint64_t at = 0; at < file_bytes; at += kBootstrapStep) {
    const uint64_t length = std::min(kBootstrapStep, file_bytes - at);
    const uint64_t padded = AlignUp(length, kBlockBytes);
    FLOE_RETURN_IF_ERROR(PreadAll(file.get(), {buffer.get(), length}, at));
    std::fill(buffer.get() + length, buffer.get() + padded, std::byte{0});
    FLOE_RETURN_IF_ERROR(object.file->Write({buffer.get(), padded}, at));
  }
  return Ok();
}

}  // namespace floe::cachemgr
