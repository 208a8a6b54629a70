#include <algorithm>
#include <atomic>
#include <functional>
#include <future>
#include <iterator>
#include <map>
#include <system_error>
#include <utility>

#include "base/log.h"
#include "base/mutex.h"
#include "base/quote.h"
#include "base/thread_name.h"
#include "image/index_codec.h"
#include "prepare/floe_index_reader.h"
#include "prepare/image_resolver.h"
#include "prepare/index_artifact.h"
#include "prepare/index_store.h"
#include "prepare/kept_layers.h"
#include "prepare/layer_streams.h"
#include "prepare/nydus_image.h"
#include "prepare/own_formats.h"
#include "prepare/parallel.h"
#include "prepare/resolve_steps.h"
#include "prepare/soci_image.h"

namespace floe::prepare {
namespace {

// Own formats that are read at the same time.
constexpr size_t kParallelReaders = 16;

using Referrers = Result<std::vector<fetcher::ReferrerDescriptor>>;

bool Accepts(IndexTrust trust, image::IndexOrigin origin) {
  switch (trust) {
    case IndexTrust::kRepository:
      return true;
    case IndexTrust::kBound:
      return origin != image::IndexOrigin::kRepository;
    case IndexTrust::kLocal:
      return origin == image::IndexOrigin::kLocal;
  }
  return false;
}

// The registry may answer the next time.
bool IsTransient(const Error& error) {
  return error.code == ErrorCode::kUnavailable || error.code == ErrorCode::kDeadlineExceeded ||
         error.code == ErrorCode::kCancelled;
}

// The distinct layers of an image: position of the first of each, and which one each layer is.
struct DistinctLayers {
  explicit DistinctLayers(const std::vector<image::Descriptor>& layers) {
    std::map<Digest, size_t> seen;
    for (size_t i = 0; i < layers.size(); ++i) {
      auto [entry, is_new] = seen.emplace(layers[i].digest, first.size());
      if (is_new) {
        first.push_back(i);
      }
      of_layer.push_back(entry->second);
    }
  }

  std::vector<size_t> first;
  std::vector<size_t> of_layer;
};

class Finder {
 public:
  /// `image` must outlive this. Its config may come after Prefetch(), but before Find().
  Finder(fetcher::RegistryClient& client, const ResolvedImage& image, const FindOptions& options,
         Deadline deadline)
      : client_(client),
        image_(image),
        options_(options),
        distinct_(image.manifest.layers),
        own_formats_(image, options.allow_unverified),
        bound_(FindBound(image)),
        store_(options.store_dir),
        deadline_(deadline),
        layers_(distinct_.first.size()) {}

  // Asks for the referrers on another thread, when it looks as if Find() will want them.
  void Prefetch();
  Result<std::vector<LayerWithIndex>> Find();

 private:
  static std::optional<FloeIndexCandidate> FindBound(const ResolvedImage& image);
  [[nodiscard]] std::vector<std::string> ScopesOf(size_t position) const;
  [[nodiscard]] bool WantsReferrers() const;
  [[nodiscard]] Referrers List(std::string_view artifact_type) const;
  /// Numbers of the distinct layers that have no index yet.
  [[nodiscard]] std::vector<size_t> Pending() const;
  [[nodiscard]] size_t PositionOf(size_t number) const { return distinct_.first[number]; }

  void TakeKept();
  void TryArtifact(const FloeIndexCandidate& candidate);
  void TakeFromArtifact(const FloeIndexCandidate& candidate, const std::vector<size_t>& pending,
                        std::vector<LayerWithIndex> read);
  void ReadPending(const std::function<void(size_t number)>& read);
  void ReadOwnFormats();
  void ReadFormat(size_t number, const OwnFormat& format);
  void ReadReferrers();
  void ReadSociReferrers();
  void RefuseReferrers(bool there_are_some);
  Result<std::vector<LayerWithIndex>> Conclude();
  [[nodiscard]] Result<void> MayStream(const std::vector<size_t>& pending) const;

  /// A reason why a layer is not served by what was tried. Of one thread for each layer.
  void Note(size_t number, const std::string& why);
  /// The first refusal is what the caller reports in the end, unless the registry is away.
  void Refuse(Error error);

  fetcher::RegistryClient& client_;
  const ResolvedImage& image_;
  const FindOptions& options_;
  const DistinctLayers distinct_;
  const OwnFormats own_formats_;
  const std::optional<FloeIndexCandidate> bound_;
  const IndexStore store_;
  const Deadline deadline_;
  std::vector<LayerWithIndex> layers_;  ///< The distinct ones.
  Mutex mutex_;                         ///< While own formats are read.
  std::optional<Error> refused_;
  std::future<Referrers> prefetched_;  ///< Last: its end waits for the thread, which uses the rest.
};

std::optional<FloeIndexCandidate> Finder::FindBound(const ResolvedImage& image) {
  if (image.index_digest) {
    if (auto bound = FindBoundArtifact(image.index_bytes, image.manifest_digest)) {
      return FloeIndexCandidate{*bound, IndexStore::BoundScope(*image.index_digest)};
    }
  }
  return std::nullopt;
}

// Who may vouch for a layer, best first.
std::vector<std::string> Finder::ScopesOf(size_t position) const {
  std::vector<std::string> scopes = {IndexStore::LocalScope()};
  if (image_.index_digest) {
    scopes.push_back(IndexStore::BoundScope(*image_.index_digest));
  }
  for (const OwnFormat& format : own_formats_.Of(position)) {
    if (format.scope != kEmptyScope) {
      scopes.push_back(format.scope);
    }
  }
  scopes.push_back(IndexStore::RepositoryScope(image_.reference.repository));
  scopes.push_back(IndexStore::ForeignScope(image_.reference.repository, kSociReader));
  std::erase_if(scopes, [&](const std::string& scope) {
    return !Accepts(options_.trust, IndexStore::OriginOf(scope));
  });
  return scopes;
}

// True when a layer is neither kept nor named by the image itself.
bool Finder::WantsReferrers() const {
  return std::ranges::any_of(distinct_.first, [this](size_t position) {
    return own_formats_.Of(position).empty() &&
           std::ranges::none_of(ScopesOf(position), [&](const std::string& scope) {
             return store_.Has(scope, image_.manifest.layers[position].digest);
           });
  });
}

void Finder::Prefetch() {
  if (options_.trust == IndexTrust::kLocal || bound_ || !WantsReferrers()) {
    return;
  }
  try {
    prefetched_ = std::async(std::launch::async, [this] {
      SetThreadName("referrers");
      return List(image::kIndexArtifactType);
    });
  } catch (const std::system_error& error) {
    LogDebug("referrers not prefetched reason=\"{}\"", error.what());
  }
}

Referrers Finder::List(std::string_view artifact_type) const {
  return client_.ListReferrers(image_.reference.repository, image_.manifest_digest, artifact_type,
                               deadline_);
}

std::vector<size_t> Finder::Pending() const {
  std::vector<size_t> pending;
  for (size_t i = 0; i < layers_.size(); ++i) {
    if (layers_[i].index == nullptr) {
      pending.push_back(i);
    }
  }
  return pending;
}

void Finder::Note(size_t number, const std::string& why) {
  std::string& text = layers_[number].why_not;
  if (!text.empty()) {
    text += "; ";
  }
  text += why;
}

void Finder::Refuse(Error error) {
  if (!refused_ || (IsTransient(error) && !IsTransient(*refused_))) {
    refused_ = std::move(error);
  }
}

void Finder::TakeKept() {
  for (size_t i = 0; i < layers_.size(); ++i) {
    const size_t position = PositionOf(i);
    auto kept = FindKept(store_, ScopesOf(position), image_.manifest.layers[position],
                         image_.config.diff_ids[position], options_.allow_unverified);
    if (kept) {
      layers_[i] = std::move(kept).value();
    }
  }
}

Result<std::vector<LayerWithIndex>> Finder::Find() {
  TakeKept();
  if (!Pending().empty() && options_.trust == IndexTrust::kLocal) {
    Refuse(
        PermissionDenied("index.trust is local and this node has no index of its own for manifest "
                         "{}",
                         image_.manifest_digest.ToString()));
  } else if (!Pending().empty()) {
    if (bound_) {
      TryArtifact(*bound_);
    }
    ReadOwnFormats();
    if (!Pending().empty() && !own_formats_.is_indivisible()) {
      ReadReferrers();
    }
  }
  return Conclude();
}

void Finder::TryArtifact(const FloeIndexCandidate& candidate) {
  const std::vector<size_t> pending = Pending();
  std::vector<size_t> positions;
  std::ranges::transform(pending, std::back_inserter(positions),
                         [this](size_t number) { return PositionOf(number); });
  const std::string digest = candidate.artifact.digest.ToString();
  auto read = FloeIndexReader(client_, image_, store_, deadline_).Read(candidate, positions);
  if (read) {
    TakeFromArtifact(candidate, pending, std::move(read).value());
    return;
  }
  LogWarning("index refused image={} index={} reason=\"{}\"", image_.reference.ToString(), digest,
             read.error().message);
  const Error error = WithContext(std::move(read).error(), "index " + digest);
  for (const size_t number : pending) {
    Note(number, error.message);
  }
  Refuse(error);
}

void Finder::TakeFromArtifact(const FloeIndexCandidate& candidate,
                              const std::vector<size_t>& pending,
                              std::vector<LayerWithIndex> read) {
  for (size_t i = 0; i < pending.size(); ++i) {
    LayerWithIndex& layer = layers_[pending[i]];
    if (read[i].index != nullptr) {
      read[i].why_not = std::move(layer.why_not);
      layer = std::move(read[i]);
      continue;
    }
    const Error error =
        NotFound("index {}: it holds nothing for layer {}", candidate.artifact.digest.ToString(),
                 image_.manifest.layers[PositionOf(pending[i])].digest.ToString());
    Note(pending[i], error.message);
    Refuse(error);
  }
}

// Failures are notes of their layers, so the work itself never fails.
void Finder::ReadPending(const std::function<void(size_t number)>& read) {
  const std::vector<size_t> pending = Pending();
  (void)ForEachParallel(pending.size(), kParallelReaders,
                        [&](size_t i, const std::atomic<bool>& /*failed*/) -> Result<void> {
                          read(pending[i]);
                          return Ok();
                        });
}

void Finder::ReadOwnFormats() {
  ReadPending([this](size_t number) {
    for (const OwnFormat& format : own_formats_.Of(PositionOf(number))) {
      if (layers_[number].index == nullptr) {
        ReadFormat(number, format);
      }
    }
  });
}

// Of one thread for each layer.
void Finder::ReadFormat(size_t number, const OwnFormat& format) {
  const LayerContext context{.client = client_,
                             .image = image_,
                             .position = PositionOf(number),
                             .deadline = deadline_,
                             .allow_unverified = options_.allow_unverified};
  const image::Descriptor& layer = context.layer();
  auto read = format.read(context);
  if (read && !Accepts(options_.trust, read->origin)) {
    read = PermissionDenied("index.trust refuses it");
  }
  auto kept = read ? KeepRead(store_, format.scope, format.reader, layers_[number].why_not, layer,
                              std::move(read).value())
                   : Result<LayerWithIndex>(std::move(read).error());
  if (kept) {
    layers_[number] = std::move(kept).value();
    return;
  }
  LogWarning("layer not read image={} layer={} reader={} reason=\"{}\"",
             image_.reference.ToString(), layer.digest.ToString(), format.reader,
             kept.error().message);
  Note(number, fmt::format("{}: {}", format.reader, kept.error().message));
  const MutexLock lock(mutex_);
  Refuse(WithContext(kept.error(),
                     fmt::format("layer {}: {}", layer.digest.ToString(), format.reader)));
}

void Finder::ReadReferrers() {
  if (options_.trust == IndexTrust::kBound && refused_ && bound_) {
    return;  // The bound index is the only one that counts, and it is no good.
  }
  Referrers referrers = prefetched_.valid() ? prefetched_.get() : List(image::kIndexArtifactType);
  if (!referrers) {
    Refuse(std::move(referrers).error());
    return;
  }
  if (options_.trust == IndexTrust::kBound) {
    RefuseReferrers(!referrers->empty());
    return;
  }
  // Registries and fallback tags list the newest last.
  std::ranges::reverse(*referrers);
  const std::string scope = IndexStore::RepositoryScope(image_.reference.repository);
  for (const fetcher::ReferrerDescriptor& referrer : *referrers) {
    if (Pending().empty()) {
      return;
    }
    TryArtifact({{referrer.digest, referrer.size_bytes}, scope});
  }
  if (!Pending().empty()) {
    ReadSociReferrers();
  }
}

void Finder::ReadSociReferrers() {
  auto referrers =
      ListSociV1Indexes(client_, image_.reference.repository, image_.manifest_digest, deadline_);
  if (!referrers) {
    Refuse(std::move(referrers).error());
    return;
  }
  for (const fetcher::ReferrerDescriptor& referrer : *referrers) {
    if (Pending().empty()) {
      return;
    }
    auto index = FetchSociIndex(client_, image_.reference.repository, referrer.digest,
                                referrer.size_bytes, image_, deadline_);
    if (!index) {
      LogWarning("index refused image={} index={} reason=\"{}\"", image_.reference.ToString(),
                 referrer.digest.ToString(), index.error().message);
      Refuse(std::move(index).error());
      continue;
    }
    const OwnFormat format = {
        kSociReader, IndexStore::ForeignScope(image_.reference.repository, kSociReader),
        [&](const LayerContext& context) {
          return ReadSociLayer(context, *index, image::IndexOrigin::kRepository);
        }};
    ReadPending([&](size_t number) { ReadFormat(number, format); });
  }
}

void Finder::RefuseReferrers(bool there_are_some) {
  if (!there_are_some) {
    return;
  }
  const Error error =
      PermissionDenied("index.trust is bound, and the index of manifest {} is only a referrer",
                       image_.manifest_digest.ToString());
  for (const size_t number : Pending()) {
    Note(number, error.message);
  }
  Refuse(error);
}

Result<void> Finder::MayStream(const std::vector<size_t>& pending) const {
  if (!options_.may_stream || own_formats_.is_indivisible() ||
      (refused_ && IsTransient(*refused_))) {
    return FailedPrecondition("not streamed");
  }
  for (const size_t number : pending) {
    const image::Descriptor& layer = image_.manifest.layers[PositionOf(number)];
    if (!CanStream(layer)) {
      return Unimplemented("layer {} has media type {}, which cannot be streamed",
                           layer.digest.ToString(), Quote(layer.media_type));
    }
  }
  return Ok();
}

Result<std::vector<LayerWithIndex>> Finder::Conclude() {
  const std::vector<size_t> pending = Pending();
  if (!pending.empty()) {
    const Error none = NotFound("no index for manifest {} in {}", image_.manifest_digest.ToString(),
                                image_.reference.repository.ToString());
    if (!MayStream(pending)) {
      return refused_ ? *refused_ : none;
    }
    for (const size_t number : pending) {
      layers_[number].reader = kStreamReader;
      if (layers_[number].why_not.empty()) {
        layers_[number].why_not = refused_ ? refused_->message : none.message;
      }
    }
  }
  std::vector<LayerWithIndex> layers;
  layers.reserve(distinct_.of_layer.size());
  for (const size_t number : distinct_.of_layer) {
    layers.push_back(layers_[number]);
  }
  return layers;
}

std::optional<Digest> NydusAlternativeOf(const ResolvedImage& image,
                                         const image::Platform& platform) {
  const auto index = image::ParseImageIndex(image.index_bytes);
  if (!index) {
    return std::nullopt;
  }
  const auto alternative = NydusAlternative(*index, platform);
  return alternative ? std::optional(alternative->digest) : std::nullopt;
}

bool IsLazy(const IndexedImage& found) {
  return std::ranges::none_of(found.layers,
                              [](const LayerWithIndex& layer) { return layer.index == nullptr; });
}

}  // namespace

Result<IndexedImage> FindIndexes(fetcher::RegistryClient& client, ResolvedManifest resolved,
                                 const FindOptions& options, Deadline deadline) {
  std::vector<LayerWithIndex> layers;
  {
    Finder finder(client, resolved.image, options, deadline);
    finder.Prefetch();
    FLOE_RETURN_IF_ERROR(ReadConfig(client, resolved, deadline));
    FLOE_ASSIGN_OR_RETURN(layers, finder.Find());
  }
  return IndexedImage{std::move(resolved.image), std::move(layers)};
}

Result<IndexedImage> ResolveIndexedImage(fetcher::RegistryClient& client,
                                         const fetcher::Reference& reference,
                                         const std::optional<Digest>& manifest_digest,
                                         const image::Platform& platform,
                                         const FindOptions& options, Deadline deadline) {
  FLOE_ASSIGN_OR_RETURN(ResolvedManifest resolved,
                        ResolveManifest(client, reference, manifest_digest, platform, deadline));
  const auto alternative =
      manifest_digest ? std::nullopt : NydusAlternativeOf(resolved.image, platform);
  auto found = FindIndexes(client, std::move(resolved), options, deadline);
  if (!alternative || (found && IsLazy(*found))) {
    return found;
  }
  // The same image in another form, which needs no streaming.
  auto other = ResolveManifest(client, reference, alternative, platform, deadline);
  auto other_found = other ? FindIndexes(client, std::move(other).value(), options, deadline)
                           : Result<IndexedImage>(std::move(other).error());
  return other_found ? std::move(other_found) : std::move(found);
}

}  // namespace floe::prepare
