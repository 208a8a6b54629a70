#include "snapshotter/runs.h"

#include <unistd.h>

#include <algorithm>
#include <optional>
#include <system_error>

#include "base/file.h"
#include "base/log.h"
#include "fetcher/reference.h"
#include "prepare/kept_layers.h"
#include "snapshotter/implied.h"

namespace floe::snapshotter {
namespace {

namespace fs = std::filesystem;

// Prefix of a plan's directory while it is written.
constexpr const char* kUnfinished = "tmp-";

Result<prepare::LayerWithIndex> PickIndex(const prepare::IndexedImage& image,
                                          const LazyLayer& layer) {
  const auto& layers = image.image.manifest.layers;
  if (layer.position >= image.layers.size() || layer.position >= layers.size() ||
      layers[layer.position].digest != layer.layer_digest) {
    return DataLoss("layer {} is not layer {} of manifest {}", layer.layer_digest.ToString(),
                    layer.position, layer.manifest_digest.ToString());
  }
  return image.layers[layer.position];
}

}  // namespace

RunPin::~RunPin() {
  if (runs_ != nullptr) {
    runs_->Unpin(top_id_);
  }
}

Result<prepare::MountPlan> Runs::EnsurePlan(const Piece& run, const LowersFn& lowers) {
  const std::string key = RunKey(run);
  const KeyedMutex::Guard guard(plan_locks_, key);
  const fs::path directory = layout_.plan(key);
  auto plan = prepare::ReadMountPlan(directory);
  if (plan) {
    return plan;
  }
  if (plan.error().code != ErrorCode::kNotFound) {
    LogWarning("mount plan written anew key={} reason=\"{}\"", key, plan.error().message);
  }
  // It may be written twice over, so it gets its name only when it is right.
  const fs::path unfinished = layout_.plan(kUnfinished + key);
  FLOE_RETURN_IF_ERROR(RemoveTree(unfinished));
  FLOE_RETURN_IF_ERROR(RemoveTree(directory));
  FLOE_RETURN_IF_ERROR(WritePlan(run, lowers, unfinished));
  if (::rename(unfinished.c_str(), directory.c_str()) != 0) {
    return ErrnoError(errno, "rename " + unfinished.native());
  }
  FLOE_RETURN_IF_ERROR(SyncDirectory(layout_.plans()));
  return prepare::ReadMountPlan(directory);
}

Result<void> Runs::WritePlan(const Piece& run, const LowersFn& lowers, const fs::path& directory) {
  const auto form = run.base_id == 0 ? erofs::WhiteoutForm::kApply : erofs::WhiteoutForm::kOverlay;
  FLOE_ASSIGN_OR_RETURN(std::vector<prepare::PlanLayer> layers, LoadLayers(run));
  FLOE_ASSIGN_OR_RETURN(prepare::MountPlan plan, prepare::WriteMountPlan(layers, form, directory));
  if (plan.unresolved_implied.empty()) {
    return Ok();
  }
  FLOE_ASSIGN_OR_RETURN(LowerDirs below, lowers());
  FLOE_ASSIGN_OR_RETURN(auto implied, ReadImpliedDirectories(plan.unresolved_implied, below.paths));
  if (implied == nullptr) {
    return Ok();
  }
  layers.insert(layers.begin(), prepare::PlanLayer{std::move(implied), {}});
  FLOE_RETURN_IF_ERROR(prepare::WriteMountPlan(layers, form, directory));
  return Ok();
}

Result<std::vector<prepare::PlanLayer>> Runs::LoadLayers(const Piece& run) {
  std::vector<prepare::PlanLayer> layers;
  for (const LazyLayer& layer : run.layers) {
    FLOE_ASSIGN_OR_RETURN(auto reference, fetcher::Reference::Parse(layer.image_ref));
    FLOE_ASSIGN_OR_RETURN(auto index, FindIndex(layer));
    layers.push_back(prepare::PlanLayerOf(index, layer.layer_digest, reference.repository,
                                          layout_.indexes().native()));
  }
  std::reverse(layers.begin(), layers.end());
  return layers;
}

// In memory right after a pull, then on the node, and in the registry if the node has lost it.
Result<prepare::LayerWithIndex> Runs::FindIndex(const LazyLayer& layer) {
  if (const auto image = images_.Peek(layer.image_ref, layer.manifest_digest)) {
    return PickIndex(*image, layer);
  }
  auto kept = source_.ReadKept(layer.index_scope, layer.layer_digest);
  if (kept) {
    return kept;
  }
  LogWarning("index is asked for again layer={} ref={} reason=\"{}\"",
             layer.layer_digest.ToString(), layer.image_ref, kept.error().message);
  FLOE_ASSIGN_OR_RETURN(auto image, images_.Get(layer.image_ref, layer.manifest_digest));
  return PickIndex(*image, layer);
}

Result<LowerDirs> Runs::MountChain(const Chain& chain) {
  LowerDirs dirs;
  const std::vector<Piece> pieces = SplitChain(chain);
  for (auto piece = pieces.rbegin(); piece != pieces.rend(); ++piece) {
    if (!piece->is_run()) {
      dirs.paths.insert(dirs.paths.begin(), layout_.upper(piece->top_id));
      continue;
    }
    FLOE_ASSIGN_OR_RETURN(RunPin pin, Mount(*piece, [&]() -> Result<LowerDirs> {
                            return LowerDirs{dirs.paths, {}};
                          }));
    dirs.pins.push_back(std::move(pin));
    dirs.paths.insert(dirs.paths.begin(), layout_.mount_point(piece->top_id));
  }
  return dirs;
}

Result<RunPin> Runs::Mount(const Piece& run, const LowersFn& lowers) {
  if (mounter_ == nullptr) {
    return Unavailable("snapshot {} is lazy and no cache manager is configured (--cachemgr)",
                       run.layers.front().chain_id.ToString());
  }
  const KeyedMutex::Guard guard(mount_locks_, std::to_string(run.top_id));
  RunPin pin = Pin(run.top_id);
  FLOE_ASSIGN_OR_RETURN(prepare::MountPlan plan, EnsurePlan(run, lowers));
  const fs::path target = layout_.mount_point(run.top_id);
  FLOE_RETURN_IF_ERROR(CreateDirectories(target));
  auto mounted = mounter_->Mount(MountId(run.top_id), plan, target);
  if (!mounted) {
    return WithContext(mounted.error(),
                       "mount lazy layers up to " + run.layers.front().chain_id.ToString());
  }
  return pin;
}

Result<void> Runs::Ready() {
  if (mounter_ == nullptr) {
    return Unavailable("no cache manager is configured (--cachemgr)");
  }
  return mounter_->Ready();
}

Result<void> Runs::Collect(const InUseFn& in_use) {
  FLOE_ASSIGN_OR_RETURN(std::vector<std::string> mount_points,
                        ListDirectory(layout_.mount_points()));
  FLOE_ASSIGN_OR_RETURN(std::vector<std::string> plans, ListDirectory(layout_.plans()));
  FLOE_ASSIGN_OR_RETURN(const RunsInUse used, in_use());
  for (const std::string& mount_point : mount_points) {
    const std::optional<uint64_t> id = RootLayout::ParseId(mount_point);
    if (id && !used.tops.contains(*id)) {
      FLOE_RETURN_IF_ERROR(CollectMount(*id, in_use));
    }
  }
  for (const std::string& plan : plans) {
    if (!used.keys.contains(plan)) {
      FLOE_RETURN_IF_ERROR(CollectPlan(layout_.plan(plan), in_use));
    }
  }
  return Ok();
}

Result<void> Runs::CollectMount(uint64_t top_id, const InUseFn& in_use) {
  const KeyedMutex::Guard guard(mount_locks_, std::to_string(top_id));
  if (IsPinned(top_id)) {
    return Ok();
  }
  FLOE_ASSIGN_OR_RETURN(RunsInUse used, in_use());
  if (used.tops.contains(top_id)) {
    return Ok();
  }
  const fs::path mount_point = layout_.mount_point(top_id);
  if (mounter_ != nullptr) {
    if (auto unmounted = mounter_->Unmount(MountId(top_id)); !unmounted) {
      // Kept for the next time: it may be busy, or nobody answers.
      LogWarning("unused image not unmounted mount_point={} reason=\"{}\"", mount_point.native(),
                 unmounted.error().message);
      return Ok();
    }
  }
  // rmdir only: below a live mount there is nothing that is ours to delete.
  if (::rmdir(mount_point.c_str()) != 0 && errno != ENOENT && errno != EBUSY) {
    return ErrnoError(errno, "remove " + mount_point.native());
  }
  return Ok();
}

Result<void> Runs::CollectPlan(const fs::path& plan, const InUseFn& in_use) {
  const std::string name = plan.filename().native();
  const bool unfinished = name.starts_with(kUnfinished);
  const KeyedMutex::Guard guard(
      plan_locks_, unfinished ? name.substr(std::string_view(kUnfinished).size()) : name);
  FLOE_ASSIGN_OR_RETURN(RunsInUse used, in_use());
  // Nobody writes an unfinished plan while its key is locked here: it was left by a crash.
  return used.keys.contains(name) ? Ok() : RemoveTree(plan);
}

RunPin Runs::Pin(uint64_t top_id) {
  MutexLock lock(mutex_);
  ++pins_[top_id];
  return RunPin(*this, top_id);
}

void Runs::Unpin(uint64_t top_id) {
  MutexLock lock(mutex_);
  if (--pins_[top_id] == 0) {
    pins_.erase(top_id);
  }
}

bool Runs::IsPinned(uint64_t top_id) {
  MutexLock lock(mutex_);
  return pins_.contains(top_id);
}

}  // namespace floe::snapshotter
