#include "snapshotter/snapshots.h"

#include <utility>

#include "base/file.h"
#include "base/log.h"
#include "snapshotter/chain.h"
#include "snapshotter/disk_usage.h"
#include "snapshotter/filter.h"
#include "snapshotter/labels.h"
#include "snapshotter/root_store.h"
#include "snapshotter/snapshot_dirs.h"

namespace floe::snapshotter {
namespace {

Result<void> CheckName(const std::string& name) {
  return name.empty() ? Result<void>(InvalidArgument("a snapshot needs a key")) : Ok();
}

// Overlayfs shows the topmost directory's owner: a new one has that of what it stands on.
Result<Owner> RootOwner(const Labels& labels, const LowerDirs& lowers) {
  FLOE_ASSIGN_OR_RETURN(std::optional<Owner> mapped, MappedRoot(labels));
  if (mapped) {
    return *mapped;
  }
  return lowers.paths.empty() ? Result<Owner>(Owner{}) : OwnerOf(lowers.paths.front());
}

void LogFallback(const Labels& labels, const std::string& image_ref, const Error& why) {
  const auto chain_id = labels.find(kLabelSnapshotRef);
  LogInfo("layer is not lazy chain_id={} ref={} code={} reason=\"{}\"", chain_id->second,
          image_ref.empty() ? "-" : image_ref, ErrorCodeName(why.code), why.message);
}

}  // namespace

Result<std::unique_ptr<Snapshotter>> Snapshotter::Create(SnapshotterOptions options) {
  const RootLayout& layout = options.layout;
  for (const auto& directory : {layout.root(), layout.snapshots(), layout.plans(),
                                layout.mount_points(), layout.indexes()}) {
    FLOE_RETURN_IF_ERROR(CreateDirectories(directory));
  }
  FLOE_ASSIGN_OR_RETURN(std::unique_ptr<MetaStore> store, OpenRootStore(layout, options.clock));
  return std::unique_ptr<Snapshotter>(new Snapshotter(std::move(options), std::move(store)));
}

Snapshotter::Snapshotter(SnapshotterOptions options, std::unique_ptr<MetaStore> store)
    : options_(std::move(options)),
      layout_(options_.layout),
      store_(std::move(store)),
      image_cache_(options_.images, options_.clock, options_.resolve_timeout),
      runs_(layout_, store_->instance(), options_.images, image_cache_, options_.mounter),
      remote_(image_cache_, runs_) {}

Result<std::vector<Mount>> Snapshotter::Prepare(const std::string& key, const std::string& parent,
                                                const Labels& labels) {
  FLOE_RETURN_IF_ERROR(CheckName(key));
  FLOE_RETURN_IF_ERROR(CheckLabels(labels));
  if (labels.contains(kLabelSnapshotRef)) {
    FLOE_ASSIGN_OR_RETURN(bool lazy, TryLazy(parent, labels));
    if (lazy) {
      return AlreadyExists("layer {} is available", labels.at(kLabelSnapshotRef));
    }
  }
  return Create(Kind::kActive, key, parent, labels);
}

Result<std::vector<Mount>> Snapshotter::View(const std::string& key, const std::string& parent,
                                             const Labels& labels) {
  FLOE_RETURN_IF_ERROR(CheckName(key));
  FLOE_RETURN_IF_ERROR(CheckLabels(labels));
  return Create(Kind::kView, key, parent, labels);
}

Result<std::vector<Mount>> Snapshotter::Create(Kind kind, const std::string& key,
                                               const std::string& parent, const Labels& labels) {
  FLOE_ASSIGN_OR_RETURN(Chain chain, store_->GetChain(parent));
  FLOE_ASSIGN_OR_RETURN(bool exists, store_->Exists(key));
  if (exists) {
    return AlreadyExists("snapshot {} already exists", key);
  }
  FLOE_ASSIGN_OR_RETURN(LowerDirs lowers, runs_.MountChain(chain));
  FLOE_ASSIGN_OR_RETURN(Owner owner, RootOwner(labels, lowers));
  const auto id = store_->Create(kind, key, parent, labels, [&](uint64_t new_id) {
    return MakeSnapshotDirectory(layout_, new_id, kind, owner);
  });
  if (!id) {
    const MutexLock lock(cleanup_mutex_);
    (void)RemoveOrphans();  // The directory may have been made; if not now, Cleanup removes it.
    return id.error();
  }
  const Info info{.name = key,
                  .parent = parent,
                  .kind = kind,
                  .created = {},
                  .updated = {},
                  .labels = WithoutEmptyValues(labels)};
  return SnapshotMounts(layout_, *id, info, lowers.paths, options_.overlay);
}

// False, with the reason in the log: the layer is to be unpacked.
Result<bool> Snapshotter::TryLazy(const std::string& parent, const Labels& labels) {
  auto target = ReadRemoteTarget(labels);
  if (!target) {
    LogFallback(labels, "", target.error());
    return false;
  }
  const std::string name = LazySnapshotName(target->chain_id, parent);
  FLOE_ASSIGN_OR_RETURN(bool exists, store_->Exists(name));
  if (exists) {
    return true;
  }
  auto committed = CommitLazy(name, parent, labels, *target);
  if (!committed && committed.error().code == ErrorCode::kAlreadyExists) {
    return true;  // Another pull was faster.
  }
  if (!committed) {
    LogFallback(labels, target->image_ref, committed.error());
    return false;
  }
  return true;
}

Result<void> Snapshotter::CommitLazy(const std::string& name, const std::string& parent,
                                     const Labels& labels, const RemoteTarget& target) {
  FLOE_ASSIGN_OR_RETURN(Chain chain, store_->GetChain(parent));
  FLOE_ASSIGN_OR_RETURN(LazyLayer layer, remote_.Decide(target, chain));
  FLOE_RETURN_IF_ERROR(store_->CreateLazy(name, parent, labels, layer));
  LogInfo("layer is lazy chain_id={} layer={} ref={}", layer.chain_id.ToString(),
          layer.layer_digest.ToString(), layer.image_ref);
  return Ok();
}

Result<std::vector<Mount>> Snapshotter::Mounts(const std::string& key) {
  FLOE_ASSIGN_OR_RETURN(Snapshot snapshot, store_->Get(key));
  if (snapshot.info.kind == Kind::kCommitted) {
    return FailedPrecondition("snapshot {} is committed and has no mounts of its own", key);
  }
  FLOE_ASSIGN_OR_RETURN(Chain chain, store_->GetChain(snapshot.info.parent));
  FLOE_ASSIGN_OR_RETURN(LowerDirs lowers, runs_.MountChain(chain));
  return SnapshotMounts(layout_, snapshot.id, snapshot.info, lowers.paths, options_.overlay);
}

Result<void> Snapshotter::Commit(const std::string& name, const std::string& key,
                                 const Labels& labels, const std::string& parent) {
  FLOE_RETURN_IF_ERROR(CheckName(name));
  FLOE_RETURN_IF_ERROR(CheckLabels(labels));
  return store_->Commit(key, name, labels, parent);
}

Result<void> Snapshotter::Remove(const std::string& key) { return store_->Remove(key); }

Result<Info> Snapshotter::Stat(const std::string& key) {
  FLOE_ASSIGN_OR_RETURN(Snapshot snapshot, store_->Get(key));
  return std::move(snapshot.info);
}

Result<Info> Snapshotter::Update(const std::string& name, const Labels& labels,
                                 const std::vector<std::string>& paths) {
  FLOE_RETURN_IF_ERROR(CheckLabels(labels));
  return store_->Update(name, labels, paths);
}

Result<std::vector<Info>> Snapshotter::List(const std::vector<std::string>& filters) {
  FLOE_ASSIGN_OR_RETURN(Filter filter, Filter::Parse(filters));
  FLOE_ASSIGN_OR_RETURN(std::vector<Info> infos, store_->List());
  std::erase_if(infos, [&](const Info& info) { return !filter.Matches(info); });
  return infos;
}

Result<Usage> Snapshotter::GetUsage(const std::string& key) {
  FLOE_ASSIGN_OR_RETURN(Snapshot snapshot, store_->Get(key));
  switch (snapshot.info.kind) {
    case Kind::kView:
      return Usage{};
    case Kind::kActive:
      return DiskUsage(layout_.upper(snapshot.id));
    case Kind::kCommitted:
      break;
  }
  return snapshot.usage ? Result<Usage>(*snapshot.usage) : MeasureCommitted(snapshot);
}

// A committed directory never changes: it is measured by the first who asks, not in Commit, which
// containerd calls while all its metadata is locked.
Result<Usage> Snapshotter::MeasureCommitted(const Snapshot& snapshot) {
  if (snapshot.lazy) {
    FLOE_ASSIGN_OR_RETURN(Chain chain, store_->GetChain(snapshot.info.name));
    return DiskUsage(layout_.plan(RunKey(SplitChain(chain).front())));
  }
  FLOE_ASSIGN_OR_RETURN(Usage usage, DiskUsage(layout_.upper(snapshot.id)));
  FLOE_RETURN_IF_ERROR(store_->SetUsage(snapshot.id, usage));
  return usage;
}

Result<void> Snapshotter::Cleanup() {
  const MutexLock lock(cleanup_mutex_);
  image_cache_.Purge();
  // One kind of garbage that cannot be removed does not keep the other.
  auto removed = RemoveOrphans();
  auto collected = runs_.Collect([&]() -> Result<RunsInUse> {
    FLOE_ASSIGN_OR_RETURN(std::vector<Node> nodes, store_->Nodes());
    return FindRunsInUse(nodes);
  });
  FLOE_RETURN_IF_ERROR(removed);
  return collected;
}

Result<void> Snapshotter::RemoveOrphans() {
  auto put_aside = store_->WithIds([&](const auto& ids) { return PutOrphansAside(layout_, ids); });
  auto deleted = DeleteOrphans(layout_);
  FLOE_RETURN_IF_ERROR(put_aside);
  return deleted;
}

}  // namespace floe::snapshotter
