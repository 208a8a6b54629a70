#include "tests/support/memory_registry_client.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "fetcher/registry/referrers.h"
#include "image/manifest.h"

namespace floe::testing {
namespace {

using fetcher::Manifest;
using fetcher::ReferrerDescriptor;
using fetcher::Repository;

constexpr size_t kPieceBytes = 64U << 10U;

bool Contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

}  // namespace

// The fetch loop: runs callbacks one after the other on a thread of its own.
class MemoryRegistryClient::Loop {
 public:
  Loop() : thread_([this](const std::stop_token& stop) { Run(stop); }) {}
  ~Loop() {
    thread_.request_stop();
    MutexLock lock(mutex_);
    changed_.NotifyAll();
  }
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  void Post(std::function<void()> task) {
    MutexLock lock(mutex_);
    tasks_.push_back(std::move(task));
    changed_.NotifyAll();
  }

 private:
  void Run(const std::stop_token& stop) {
    for (;;) {
      std::function<void()> task;
      {
        MutexLock lock(mutex_);
        while (tasks_.empty() && !stop.stop_requested()) {
          changed_.Wait(mutex_);
        }
        if (tasks_.empty()) {
          return;
        }
        task = std::move(tasks_.front());
        tasks_.pop_front();
      }
      task();
    }
  }

  Mutex mutex_;
  CondVar changed_;
  std::deque<std::function<void()>> tasks_ FLOE_GUARDED_BY(mutex_);
  std::jthread thread_;
};

// Cancels by a flag that the loop looks at before it answers.
class MemoryRegistryClient::Call final : public fetcher::FetchHandle {
 public:
  explicit Call(std::shared_ptr<std::atomic<bool>> cancelled) : cancelled_(std::move(cancelled)) {}
  ~Call() override { cancelled_->store(true); }
  void Cancel() override { cancelled_->store(true); }

 private:
  std::shared_ptr<std::atomic<bool>> cancelled_;
};

MemoryRegistryClient::MemoryRegistryClient() : loop_(std::make_unique<Loop>()) {}
MemoryRegistryClient::~MemoryRegistryClient() { loop_.reset(); }

Digest MemoryRegistryClient::AddBlob(const Repository& repository, std::string bytes) {
  Digest digest = Digest::Of(bytes);
  ReplaceBlob(repository, digest, std::move(bytes));
  return digest;
}

void MemoryRegistryClient::ReplaceBlob(const Repository& repository, const Digest& digest,
                                       std::string bytes) {
  MutexLock lock(mutex_);
  repositories_[repository].blobs[digest] = std::move(bytes);
}

void MemoryRegistryClient::RemoveBlob(const Repository& repository, const Digest& digest) {
  MutexLock lock(mutex_);
  repositories_[repository].blobs.erase(digest);
}

Digest MemoryRegistryClient::AddManifest(const Repository& repository, const std::string& tag,
                                         std::string media_type, std::string bytes) {
  MutexLock lock(mutex_);
  Digest digest = Digest::Of(bytes);
  return StoreManifest(repository, tag, {std::move(media_type), digest, std::move(bytes)});
}

void MemoryRegistryClient::RemoveManifest(const Repository& repository, const Digest& digest) {
  MutexLock lock(mutex_);
  repositories_[repository].manifests.erase(digest);
}

Digest MemoryRegistryClient::StoreManifest(const Repository& repository, const std::string& tag,
                                           Manifest manifest) {
  Content& content = repositories_[repository];
  Digest digest = manifest.digest;
  if (!tag.empty()) {
    content.tags[tag] = digest;
  }
  auto parsed = image::ParseImageManifest(manifest.bytes);
  if (referrers_api_ && parsed && parsed->subject && !content.manifests.contains(digest)) {
    content.referrers[parsed->subject->digest].push_back(
        {manifest.media_type,
         parsed->artifact_type.empty() ? parsed->config.media_type : parsed->artifact_type, digest,
         manifest.bytes.size()});
  }
  content.manifests[digest] = std::move(manifest);
  return digest;
}

std::optional<std::string> MemoryRegistryClient::BlobBytes(const Repository& repository,
                                                           const Digest& digest) const {
  auto bytes = StoredBlob(repository, digest);
  return bytes ? std::optional(std::move(bytes).value()) : std::nullopt;
}

std::optional<Manifest> MemoryRegistryClient::FindManifest(const Repository& repository,
                                                           const std::string& name) const {
  MutexLock lock(mutex_);
  auto content = repositories_.find(repository);
  if (content == repositories_.end()) {
    return std::nullopt;
  }
  auto digest = Digest::Parse(name);
  if (!digest) {
    auto tag = content->second.tags.find(name);
    if (tag == content->second.tags.end()) {
      return std::nullopt;
    }
    digest = tag->second;
  }
  auto manifest = content->second.manifests.find(*digest);
  return manifest == content->second.manifests.end() ? std::nullopt
                                                     : std::optional(manifest->second);
}

size_t MemoryRegistryClient::blob_count(const Repository& repository) const {
  MutexLock lock(mutex_);
  auto content = repositories_.find(repository);
  return content == repositories_.end() ? 0 : content->second.blobs.size();
}

size_t MemoryRegistryClient::manifest_count(const Repository& repository) const {
  MutexLock lock(mutex_);
  auto content = repositories_.find(repository);
  return content == repositories_.end() ? 0 : content->second.manifests.size();
}

void MemoryRegistryClient::EnableReferrersApi(bool enabled) {
  MutexLock lock(mutex_);
  referrers_api_ = enabled;
}

void MemoryRegistryClient::FailCalls(std::string call_contains, Error error) {
  MutexLock lock(mutex_);
  failures_.push_back({std::move(call_contains), std::move(error)});
}

void MemoryRegistryClient::ClearFailures() {
  MutexLock lock(mutex_);
  failures_.clear();
}

void MemoryRegistryClient::OnCall(CallHook hook) {
  MutexLock lock(mutex_);
  hook_ = std::move(hook);
}

std::vector<std::string> MemoryRegistryClient::calls() const {
  MutexLock lock(mutex_);
  return calls_;
}

size_t MemoryRegistryClient::CountCalls(std::string_view call_contains) const {
  MutexLock lock(mutex_);
  return static_cast<size_t>(
      std::count_if(calls_.begin(), calls_.end(),
                    [&](const std::string& call) { return Contains(call, call_contains); }));
}

void MemoryRegistryClient::ForgetCalls() {
  MutexLock lock(mutex_);
  calls_.clear();
  max_running_ = 0;
}

int MemoryRegistryClient::max_parallel_calls() const {
  MutexLock lock(mutex_);
  return max_running_;
}

// Success: End() must follow.
Result<void> MemoryRegistryClient::Begin(const std::string& call, Deadline deadline) {
  CallHook hook;
  {
    MutexLock lock(mutex_);
    calls_.push_back(call);
    ++counters_.requests;
    max_running_ = std::max(max_running_, ++running_);
    hook = hook_;
  }
  if (hook) {
    hook(call);
  }
  MutexLock lock(mutex_);
  std::optional<Error> error;
  auto failure = std::find_if(failures_.begin(), failures_.end(), [&](const Failure& entry) {
    return Contains(call, entry.call_contains);
  });
  if (failure != failures_.end()) {
    error = failure->error;
  } else if (deadline.Expired()) {
    error = DeadlineExceeded("{}: too late", call);
  }
  if (error) {
    --running_;
    return *error;
  }
  return Ok();
}

void MemoryRegistryClient::End() {
  MutexLock lock(mutex_);
  --running_;
}

Result<std::string> MemoryRegistryClient::StoredBlob(const Repository& repository,
                                                     const Digest& digest) const {
  MutexLock lock(mutex_);
  auto content = repositories_.find(repository);
  if (content != repositories_.end()) {
    auto blob = content->second.blobs.find(digest);
    if (blob != content->second.blobs.end()) {
      return blob->second;
    }
  }
  return NotFound("blob {} in {}", digest.ToString(), repository.ToString());
}

Result<std::string> MemoryRegistryClient::ReadRange(const Repository& repository,
                                                    const Digest& digest, ByteRange range) {
  FLOE_ASSIGN_OR_RETURN(std::string bytes, StoredBlob(repository, digest));
  if (!range.IsValid() || range.end() > bytes.size()) {
    return DataLoss("blob {} has {} bytes", digest.ToString(), bytes.size());
  }
  MutexLock lock(mutex_);
  counters_.body_bytes += range.length;
  return bytes.substr(range.offset, range.length);
}

std::unique_ptr<fetcher::FetchHandle> MemoryRegistryClient::FetchRange(
    fetcher::RangeRequest request, RangeCallback done) {
  auto cancelled = std::make_shared<std::atomic<bool>>(false);
  loop_->Post([this, request = std::move(request), cancelled, done = std::move(done)] {
    const std::string digest = request.digest.ToString();
    if (auto begun = Begin("FetchRange " + digest, request.deadline); !begun) {
      done(begun.error());
      return;
    }
    auto bytes = ReadRange(request.repository, request.digest, request.range);
    End();
    done(cancelled->load() ? Cancelled("fetch of {}", digest) : std::move(bytes));
  });
  return std::make_unique<Call>(cancelled);
}

Result<Manifest> MemoryRegistryClient::GetManifest(const Repository& repository,
                                                   const std::string& name, Deadline deadline) {
  FLOE_RETURN_IF_ERROR(Begin("GetManifest " + name, deadline));
  auto found = FindManifest(repository, name);
  End();
  if (!found) {
    return NotFound("manifest {} in {}", name, repository.ToString());
  }
  MutexLock lock(mutex_);
  counters_.body_bytes += found->bytes.size();
  return std::move(*found);
}

Result<std::string> MemoryRegistryClient::GetBlob(const Repository& repository,
                                                  const Digest& digest, uint64_t limit_bytes,
                                                  Deadline deadline) {
  FLOE_RETURN_IF_ERROR(Begin("GetBlob " + digest.ToString(), deadline));
  auto bytes = StoredBlob(repository, digest);
  End();
  if (!bytes) {
    return bytes;
  }
  if (bytes->size() > limit_bytes) {
    return ResourceExhausted("blob {} has more than {} bytes", digest.ToString(), limit_bytes);
  }
  if (Digest::Of(*bytes) != digest) {
    return DataLoss("blob {}: its bytes have another digest", digest.ToString());
  }
  MutexLock lock(mutex_);
  counters_.body_bytes += bytes->size();
  return bytes;
}

Result<void> MemoryRegistryClient::StreamBlob(const Repository& repository, const Digest& digest,
                                              uint64_t size_bytes, const Sink& sink,
                                              Deadline deadline) {
  FLOE_RETURN_IF_ERROR(Begin("StreamBlob " + digest.ToString(), deadline));
  auto stream = [&]() -> Result<void> {
    FLOE_ASSIGN_OR_RETURN(std::string bytes, StoredBlob(repository, digest));
    std::span<const std::byte> left = std::as_bytes(std::span(bytes));
    while (!left.empty()) {
      size_t piece = std::min(left.size(), kPieceBytes);
      FLOE_RETURN_IF_ERROR(sink(left.first(piece)));
      left = left.subspan(piece);
    }
    if (bytes.size() != size_bytes) {
      return DataLoss("blob {} ends after {} of {} bytes", digest.ToString(), bytes.size(),
                      size_bytes);
    }
    MutexLock lock(mutex_);
    counters_.body_bytes += bytes.size();
    return Ok();
  };
  auto result = stream();
  End();
  return result;
}

Result<std::vector<ReferrerDescriptor>> MemoryRegistryClient::ListReferrers(
    const Repository& repository, const Digest& subject, std::string_view artifact_type,
    Deadline deadline) {
  FLOE_RETURN_IF_ERROR(Begin("ListReferrers " + subject.ToString(), deadline));
  std::vector<ReferrerDescriptor> listed;
  auto fallback = FindManifest(repository, fetcher::FallbackTag(subject));
  {
    MutexLock lock(mutex_);
    if (referrers_api_) {
      listed = repositories_[repository].referrers[subject];
      fallback.reset();
    }
  }
  End();
  if (fallback) {
    FLOE_ASSIGN_OR_RETURN(listed, fetcher::ParseReferrers(fallback->bytes));
  }
  std::erase_if(listed, [&](const ReferrerDescriptor& descriptor) {
    return !artifact_type.empty() && descriptor.artifact_type != artifact_type;
  });
  return listed;
}

Result<bool> MemoryRegistryClient::HasBlob(const Repository& repository, const Digest& digest,
                                           Deadline deadline) {
  FLOE_RETURN_IF_ERROR(Begin("HasBlob " + digest.ToString(), deadline));
  bool present = StoredBlob(repository, digest).has_value();
  End();
  return present;
}

Result<void> MemoryRegistryClient::PushBlob(const Repository& repository, const Digest& digest,
                                            std::string_view bytes, Deadline deadline) {
  FLOE_RETURN_IF_ERROR(Begin("PushBlob " + digest.ToString(), deadline));
  bool right = Digest::Of(bytes) == digest;
  if (right) {
    ReplaceBlob(repository, digest, std::string(bytes));
  }
  End();
  return right ? Ok() : Result<void>(InvalidArgument("pushed as {}", digest.ToString()));
}

// A registry takes no manifest whose parts it does not hold. A subject may be missing.
Result<void> MemoryRegistryClient::CheckParts(const Repository& repository,
                                              std::string_view bytes) const {
  if (auto manifest = image::ParseImageManifest(bytes)) {
    FLOE_RETURN_IF_ERROR(StoredBlob(repository, manifest->config.digest));
    for (const image::Descriptor& layer : manifest->layers) {
      FLOE_RETURN_IF_ERROR(StoredBlob(repository, layer.digest));
    }
  } else if (auto index = image::ParseImageIndex(bytes)) {
    for (const image::Descriptor& entry : index->manifests) {
      if (!FindManifest(repository, entry.digest.ToString())) {
        return NotFound("manifest {} in {}", entry.digest.ToString(), repository.ToString());
      }
    }
  } else {
    return InvalidArgument("neither manifest nor index");
  }
  return Ok();
}

Result<bool> MemoryRegistryClient::PushManifest(const Repository& repository,
                                                const std::string& name,
                                                std::string_view media_type, std::string_view bytes,
                                                Deadline deadline) {
  FLOE_RETURN_IF_ERROR(Begin("PushManifest " + name, deadline));
  Digest digest = Digest::Of(bytes);
  auto by_digest = Digest::Parse(name);
  auto parts = CheckParts(repository, bytes);
  bool right = parts && (!by_digest || *by_digest == digest);
  bool processed = false;
  if (right) {
    MutexLock lock(mutex_);
    StoreManifest(repository, by_digest ? "" : name,
                  {std::string(media_type), digest, std::string(bytes)});
    auto parsed = image::ParseImageManifest(bytes);
    processed = referrers_api_ && parsed && parsed->subject;
  }
  End();
  if (!right) {
    return InvalidArgument("manifest {} refused: {}", name,
                           parts ? "another digest" : parts.error().message);
  }
  return processed;
}

fetcher::RegistryClient::Counters MemoryRegistryClient::counters() const {
  MutexLock lock(mutex_);
  return counters_;
}

}  // namespace floe::testing
