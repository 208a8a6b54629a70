#include "cachemgr/manager.h"

#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <map>
#include <random>
#include <span>
#include <utility>

#include "base/digest.h"
#include "base/file.h"
#include "base/log.h"
#include "base/thread_name.h"
#include "cachemgr/replace_file.h"

namespace floe::cachemgr {
namespace {

// Names a process; two of them never share it.
std::string RandomInstance() {
  std::random_device source;
  std::array<uint32_t, 4> words{};
  for (uint32_t& word : words) {
    word = source();
  }
  const auto bytes = std::as_bytes(std::span(words));
  return HexEncode({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
}

// Names of different roots differ.
Result<std::string> KeeperSpace(const std::filesystem::path& root) {
  struct stat status{};
  if (::stat(root.c_str(), &status) != 0) {
    return ErrnoError(errno, root.native());
  }
  return fmt::format("{:x}:{:x}/", status.st_dev, status.st_ino);
}

// A keeper that another configuration named, and that has what mounts of this root need: their
// reads would wait for ever.
Result<void> CheckFormerKeeper(const std::filesystem::path& file,
                               const KeeperClient::Options& keeper) {
  const auto former = ReadFile(file);
  if (!former || *former == keeper.address.native()) {
    return Ok();
  }
  auto client = KeeperClient::Connect({.address = *former, .space = keeper.space});
  if (!client) {
    return client.error().code == ErrorCode::kNotFound ? Ok() : Result<void>(client.error());
  }
  FLOE_ASSIGN_OR_RETURN(const auto held, (*client)->All());
  if (held.empty()) {
    return Ok();
  }
  return FailedPrecondition(
      "the keeper at {} holds descriptors of mounts of this root: use it (--keeper), or unmount "
      "them first",
      *former);
}

// A manager without keeper serves all the same; its end disturbs what runs.
Result<Inheritance> InheritFor(const ManagerOptions& options, const std::filesystem::path& root) {
  KeeperClient::Options keeper;
  FLOE_ASSIGN_OR_RETURN(keeper.space, KeeperSpace(root));
  if (options.keeper_address != "none") {
    keeper.address = options.keeper_address.empty() ? root / "keeper.sock"
                                                    : std::filesystem::path(options.keeper_address);
    keeper.program = options.keeper_program;
  }
  const std::filesystem::path file = root / "keeper";
  FLOE_RETURN_IF_ERROR(CheckFormerKeeper(file, keeper));
  if (keeper.address.empty()) {
    FLOE_RETURN_IF_ERROR(RemoveFile(file));
    return Inheritance{};
  }
  auto inheritance = Inherit(keeper);
  if (inheritance) {
    // On a full disk it serves all the same.
    if (auto known = ReadFile(file); !known || *known != keeper.address.native()) {
      if (auto written = ReplaceFile(file, keeper.address.native()); !written) {
        LogWarning("the keeper's address is not remembered reason=\"{}\"", written.error().message);
      }
    }
    return inheritance;
  }
  if (inheritance.error().code != ErrorCode::kNotFound) {
    return inheritance.error();  // What it holds must not be left alone.
  }
  LogWarning("no keeper: the end of this process disturbs running containers reason=\"{}\"",
             inheritance.error().message);
  return Inheritance{};
}

}  // namespace

Result<std::unique_ptr<Manager>> Manager::Create(const ManagerOptions& options,
                                                 RegistryClients::Factory clients,
                                                 const Clock& clock) {
  if (!IsChannelName(options.channel)) {
    return InvalidArgument("channel \"{}\" is none of {}", options.channel, ChannelNames());
  }
  FLOE_ASSIGN_OR_RETURN(RootDirectory root, OpenRootDirectory(options.root));
  FLOE_ASSIGN_OR_RETURN(std::string boot_id, CurrentBootId());
  FLOE_ASSIGN_OR_RETURN(Inheritance inheritance, InheritFor(options, root.path));
  std::unique_ptr<Manager> manager(new Manager(options, std::move(root), std::move(boot_id),
                                               RandomInstance(), std::move(inheritance),
                                               std::move(clients), clock));
  manager->blobs_.RemoveLeftovers();
  FLOE_RETURN_IF_ERROR(manager->mounts_.Load());
  manager->TakeOver();
  return manager;
}

Manager::Manager(const ManagerOptions& options, RootDirectory root, std::string boot_id,
                 std::string instance, Inheritance inheritance, RegistryClients::Factory clients,
                 const Clock& clock)
    : options_(options),
      root_(std::move(root)),
      inheritance_(std::move(inheritance)),
      clients_(std::move(clients)),
      filler_(options.fill, clients_, counters_, clock, [this] { return evictor_.MakeRoom(); }),
      blobs_(root_.path / "blobs", boot_id, filler_, counters_),
      channels_({.configured = options.channel,
                 .strict = options.strict,
                 .probe_directory = root_.path / "probe",
                 .readers = options.readers,
                 .cachefiles_directory = root_.path / "cachefiles",
                 .cull_limits = options.cull_limits,
                 .keeper = inheritance_.keeper.get()}),
      mounts_(root_.path, std::move(instance), boot_id, channels_, blobs_),
      evictor_({.limits = options.cache,
                .directory = root_.path / "blobs",
                .in_use = [this] { return mounts_.KeysInUse(); }},
               blobs_, clock),
      streamer_({.blobs = root_.path / "blobs",
                 .boot_id = std::move(boot_id),
                 .make_room = [this] { return evictor_.MakeRoom(); }},
                clients_, blobs_, counters_, clock),
      checkpoint_failures_(clock),
      maintenance_([this] { RunMaintenance(); }) {}

Manager::~Manager() { Stop(); }

void Manager::TakeOver() {
  std::vector<OnDemandChannel*> taken_over;
  if (inheritance_.keeper != nullptr) {
    taken_over = channels_.TakeOver(inheritance_);
    blobs_.UseHeld(std::exchange(inheritance_.data_files, {}));
  }
  mounts_.Adopt(taken_over);
  if (!mounts_.has_unwatched()) {
    channels_.DenyAbandoned();
  }
  const std::set<std::string> needed = mounts_.KeysInUse();
  for (const auto& [key, fd] : blobs_.TakeUnopened()) {
    if (!needed.contains(key)) {
      channels_.Forget(key, fd.get());
    }
  }
  for (OnDemandChannel* channel : taken_over) {
    channel->Resume();
  }
}

void Manager::Stop() {
  {
    const MutexLock lock(mutex_);
    if (stopping_) {
      return;
    }
    stopping_ = true;
  }
  streamer_.Stop();
  wake_.NotifyAll();
  maintenance_.join();
  mounts_.UnmountUnused(channels_.HandOver(mounts_.ChannelsInUse()));
  filler_.Stop();
  CheckpointAll();
}

void Manager::RunMaintenance() {
  SetThreadName("maintenance");
  for (;;) {
    {
      const MutexLock lock(mutex_);
      const auto next = std::chrono::steady_clock::now() + options_.checkpoint_interval;
      while (!stopping_ && wake_.WaitUntil(mutex_, next)) {
      }
      if (stopping_) {
        return;
      }
    }
    CheckpointAll();
    mounts_.ReleaseGone();
    evictor_.KeepLimits();
    CheckKeeper();
  }
}

void Manager::CheckKeeper() {
  if (inheritance_.keeper == nullptr) {
    return;
  }
  const auto checked = inheritance_.keeper->Check();
  if (!checked && !keeper_lost_) {
    LogError("no keeper: the end of this process disturbs running containers reason=\"{}\"",
             checked.error().message);
  }
  keeper_lost_ = !checked;
}

std::string Manager::KeeperState() const {
  if (inheritance_.keeper == nullptr) {
    return "none";
  }
  const auto checked = inheritance_.keeper->Check();
  return checked ? "connected" : checked.error().message;
}

void Manager::CheckpointAll() {
  for (const auto& blob : blobs_.Opened()) {
    if (auto done = blob->cache().Checkpoint(); !done && checkpoint_failures_.Take()) {
      LogError("checkpoint failed key={} reason=\"{}\"", blob->map().key(), done.error().message);
    }
    if (blob->cache().complete() && told_complete_.insert(blob->map().key()).second) {
      mounts_.BlobCompleted(blob->map().key());
    }
  }
}

std::vector<BlobStatus> Manager::Blobs() {
  std::map<std::string, uint32_t> users;
  for (const MountStatus& mount : mounts_.List()) {
    if (mount.live || mount.record.lost || mount.detached) {
      for (const std::string& key : mount.record.keys) {
        ++users[key];
      }
    }
  }
  std::vector<BlobStatus> list;
  for (const auto& blob : blobs_.All()) {
    BlobCache& cache = blob->cache();
    list.push_back({.key = blob->map().key(),
                    .blob_digest = blob->map().blob_digest().ToString(),
                    .device_bytes = blob->map().device_size_bytes(),
                    .present_bytes = cache.present_bytes(),
                    .disk_bytes = blob->DiskBytes(),
                    .blob_bytes = blob->map().blob_size_bytes(),
                    .fetched_bytes = blob->fetched_bytes(),
                    .mounts = users[blob->map().key()],
                    .complete = cache.complete()});
  }
  return list;
}

}  // namespace floe::cachemgr
