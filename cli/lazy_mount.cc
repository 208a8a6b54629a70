#include "cli/lazy_mount.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <cerrno>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/digest.h"
#include "base/file.h"
#include "cli/private_cachemgr.h"
#include "client/cachemgr_client.h"
#include "erofs/writer.h"
#include "prepare/kept_layers.h"
#include "prepare/layer_streams.h"
#include "prepare/mount_plan.h"

namespace floe::cli {
namespace {

constexpr size_t kIdDigits = 32;

/// What stands in record.json: written before anything is mounted, removed after the unmount.
struct MountRecord {
  std::string id;
  std::string target;
  std::string reference;
  std::string cachemgr;  ///< The socket.
};

Result<std::filesystem::path> CanonicalDirectory(const std::filesystem::path& path) {
  std::error_code error;
  auto canonical = std::filesystem::canonical(path, error);
  if (error) {
    return ErrnoError(error.value(), path.native());
  }
  struct stat status{};
  if (::stat(canonical.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) {
    return InvalidArgument("{}: not a directory", path.native());
  }
  return canonical;
}

/// Mounts are named by their target: a directory holds at most one.
std::string MountId(const std::filesystem::path& target) {
  return "mount-" + Digest::Of(target.native()).hex().substr(0, kIdDigits);
}

bool IsMountPoint(const std::filesystem::path& directory) {
  struct statx status{};
  return ::statx(AT_FDCWD, directory.c_str(), AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_TYPE,
                 &status) == 0 &&
         (status.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

std::filesystem::path MountDirectory(const std::filesystem::path& root, const std::string& id) {
  return root / "mounts" / id;
}

Result<void> WriteRecord(const std::filesystem::path& directory, const MountRecord& record) {
  const nlohmann::json json = {{"id", record.id},
                               {"target", record.target},
                               {"reference", record.reference},
                               {"cachemgr", record.cachemgr}};
  return WriteFileAtomically(directory / "record.json",
                             json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
}

Result<MountRecord> ReadRecord(const std::filesystem::path& directory) {
  FLOE_ASSIGN_OR_RETURN(const std::string text, ReadFile(directory / "record.json"));
  const auto json = nlohmann::json::parse(text, nullptr, false);
  MountRecord record;
  for (const auto& [key, field] :
       {std::pair{"id", &record.id}, std::pair{"target", &record.target},
        std::pair{"reference", &record.reference}, std::pair{"cachemgr", &record.cachemgr}}) {
    if (!json.is_object() || !json.contains(key) || !json[key].is_string()) {
      return DataLoss("{}/record.json is damaged", directory.native());
    }
    *field = json[key].get<std::string>();
  }
  return record;
}

std::string StoreDir(const LazyMountOptions& options) {
  return (options.root / "indexes").native();
}

prepare::FindOptions FindOptionsOf(const LazyMountOptions& options) {
  prepare::FindOptions find = options.find;
  find.store_dir = StoreDir(options);
  return find;
}

Result<prepare::IndexedImage> FindIndexes(const ImageSource::Target& image,
                                          const LazyMountOptions& options, Deadline deadline) {
  auto indexed = prepare::ResolveIndexedImage(*image.registry, image.reference, std::nullopt,
                                              image.platform, FindOptionsOf(options), deadline);
  if (!indexed.has_value() && indexed.error().code == ErrorCode::kNotFound) {
    return NotFound("{}; make one: floe index create {}", indexed.error().message,
                    image.reference.ToString());
  }
  return indexed;
}

std::vector<prepare::PlanLayer> PlanLayers(const prepare::IndexedImage& indexed,
                                           const std::string& store_dir) {
  std::vector<prepare::PlanLayer> layers;
  layers.reserve(indexed.layers.size());
  for (size_t i = 0; i < indexed.layers.size(); ++i) {
    layers.push_back(prepare::PlanLayerOf(indexed.layers[i],
                                          indexed.image.manifest.layers[i].digest,
                                          indexed.image.reference.repository, store_dir));
  }
  return layers;
}

LazyMountReport Describe(const prepare::IndexedImage& indexed, const prepare::MountPlan& plan) {
  LazyMountReport report;
  report.inode_count = plan.inode_count;
  for (const image::Descriptor& layer : indexed.image.manifest.layers) {
    report.image_bytes += layer.size_bytes;
  }
  for (const prepare::LayerWithIndex& layer : indexed.layers) {
    report.index_bytes += layer.tree_bytes;
  }
  return report;
}

/// A cache manager while a mount is made with it: the private one is brought up for that and,
/// unless Keep() is called, down again. No other command uses the private one meanwhile.
class CachemgrInUse {
 public:
  static Result<std::unique_ptr<CachemgrInUse>> Begin(const std::string& address,
                                                      const LazyMountOptions& options) {
    auto use = std::unique_ptr<CachemgrInUse>(new CachemgrInUse(address, options.root));
    FLOE_ASSIGN_OR_RETURN(use->lock_, use->own_.Lock());
    if (use->is_private()) {
      FLOE_RETURN_IF_ERROR(use->own_.EnsureRunning(options.channel));
      use->may_stop_ = true;
    }
    use->client_ = client::CachemgrClient::Connect(address);
    return use;
  }
  ~CachemgrInUse() {
    if (may_stop_) {
      (void)own_.StopWhenIdle();
    }
  }
  CachemgrInUse(const CachemgrInUse&) = delete;
  CachemgrInUse& operator=(const CachemgrInUse&) = delete;

  [[nodiscard]] client::CachemgrClient& client() { return *client_; }
  void Keep() { may_stop_ = false; }

 private:
  CachemgrInUse(std::string address, const std::filesystem::path& root)
      : address_(std::move(address)), own_(root) {}
  [[nodiscard]] bool is_private() const { return address_ == own_.address(); }

  const std::string address_;
  const PrivateCachemgr own_;
  UniqueFd lock_;
  bool may_stop_ = false;
  std::unique_ptr<client::CachemgrClient> client_;
};

Result<void> StreamMissing(CachemgrInUse& cachemgr, const LazyMountOptions& options,
                           prepare::IndexedImage& indexed) {
  const auto streamer = client::MakeLayerStreamer(
      cachemgr.client(), [&](const std::string& /*registry*/) { return options.plain_http; });
  return prepare::StreamMissingLayers(*streamer, indexed, StoreDir(options));
}

/// Everything after the indexes were found; `state` is the mount's own directory.
Result<LazyMountReport> StreamPlanAndMount(const MountRecord& record,
                                           const std::filesystem::path& state,
                                           const LazyMountOptions& options,
                                           prepare::IndexedImage& indexed) {
  FLOE_ASSIGN_OR_RETURN(const auto cachemgr, CachemgrInUse::Begin(record.cachemgr, options));
  FLOE_RETURN_IF_ERROR(StreamMissing(*cachemgr, options, indexed));
  const auto layers = PlanLayers(indexed, StoreDir(options));
  FLOE_ASSIGN_OR_RETURN(const auto plan, prepare::WriteMountPlan(
                                             layers, erofs::WhiteoutForm::kApply, state / "plan"));
  FLOE_RETURN_IF_ERROR(WriteRecord(state, record));
  LazyMountReport report = Describe(indexed, plan);
  FLOE_ASSIGN_OR_RETURN(const auto reply, cachemgr->client().Mount(record.id, plan, record.target,
                                                                   options.plain_http));
  cachemgr->Keep();
  report.channel = reply.channel();
  return report;
}

Result<void> UnmountThroughCachemgr(const MountRecord& record, const PrivateCachemgr& own) {
  if (record.cachemgr == own.address()) {
    // A killed one left things behind that only its successor knows.
    FLOE_RETURN_IF_ERROR(own.EnsureRunning(""));
  }
  return client::CachemgrClient::Connect(record.cachemgr)->Unmount(record.id, false);
}

}  // namespace

Result<LazyMountReport> MountImage(const ImageSource::Target& image,
                                   const std::filesystem::path& directory,
                                   const LazyMountOptions& options, Deadline deadline) {
  FLOE_ASSIGN_OR_RETURN(const auto target, CanonicalDirectory(directory));
  if (IsMountPoint(target)) {
    return FailedPrecondition("{}: something is mounted there already", target.native());
  }
  FLOE_RETURN_IF_ERROR(CreateDirectories(options.root));
  FLOE_ASSIGN_OR_RETURN(auto indexed, FindIndexes(image, options, deadline));
  const MountRecord record{
      MountId(target), target.native(), indexed.image.reference.ToString(),
      options.cachemgr.empty() ? PrivateCachemgr(options.root).address() : options.cachemgr};
  const auto state = MountDirectory(options.root, record.id);
  FLOE_RETURN_IF_ERROR(RemoveTree(state));
  FLOE_RETURN_IF_ERROR(CreateDirectories(state));
  auto mounted = StreamPlanAndMount(record, state, options, indexed);
  if (!mounted.has_value()) {
    (void)RemoveTree(state);
  }
  return mounted;
}

Result<void> UnmountImage(const std::filesystem::path& target, const std::filesystem::path& root) {
  FLOE_ASSIGN_OR_RETURN(const auto directory, CanonicalDirectory(target));
  const auto state = MountDirectory(root, MountId(directory));
  const auto record = ReadRecord(state);
  if (!record.has_value()) {
    return record.error().code == ErrorCode::kNotFound
               ? NotFound("{}: not mounted by floe (root {})", directory.native(), root.native())
               : record.error();
  }
  const PrivateCachemgr own(root);
  FLOE_ASSIGN_OR_RETURN(const UniqueFd lock, own.Lock());
  const auto unmounted = UnmountThroughCachemgr(*record, own);
  if (!unmounted.has_value() && unmounted.error().code != ErrorCode::kUnavailable) {
    return unmounted.error();
  }
  // Nobody answers for a mount of a cache manager of others: the mount itself still can go.
  if (IsMountPoint(directory) && ::umount2(directory.c_str(), UMOUNT_NOFOLLOW) != 0) {
    const int error = errno;
    return error == EBUSY ? FailedPrecondition("{}: still in use", directory.native())
                          : ErrnoError(error, "unmount " + directory.native());
  }
  FLOE_RETURN_IF_ERROR(RemoveTree(state));
  return own.StopWhenIdle();
}

}  // namespace floe::cli
