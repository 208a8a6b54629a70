#include "tests/cachemgr/fake_registry_client.h"

#include <algorithm>
#include <utility>

namespace floe::cachemgr::testing {

class FakeRegistryClient::Handle final : public fetcher::FetchHandle {
 public:
  Handle(FakeRegistryClient& client, uint64_t number) : client_(client), number_(number) {}
  ~Handle() override { client_.Cancel(number_); }
  void Cancel() override { client_.Cancel(number_); }

 private:
  FakeRegistryClient& client_;
  const uint64_t number_;
};

FakeRegistryClient::FakeRegistryClient() : thread_([this] { Run(); }) {}

FakeRegistryClient::~FakeRegistryClient() {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
}

Digest FakeRegistryClient::AddBlob(std::string bytes) {
  const Digest digest = Digest::Of(bytes);
  const MutexLock lock(mutex_);
  blobs_[digest] = std::move(bytes);
  return digest;
}

void FakeRegistryClient::SetScript(Script script) {
  const MutexLock lock(mutex_);
  script_ = std::move(script);
}

void FakeRegistryClient::Hold() {
  const MutexLock lock(mutex_);
  held_ = true;
}

void FakeRegistryClient::Release() {
  {
    const MutexLock lock(mutex_);
    held_ = false;
  }
  changed_.NotifyAll();
}

std::vector<FakeRegistryClient::Request> FakeRegistryClient::requests() const {
  const MutexLock lock(mutex_);
  return requests_;
}

void FakeRegistryClient::WaitForRequests(size_t count) const {
  const MutexLock lock(mutex_);
  while (requests_.size() < count) {
    changed_.Wait(mutex_);
  }
}

std::unique_ptr<fetcher::FetchHandle> FakeRegistryClient::FetchRange(fetcher::RangeRequest wanted,
                                                                     RangeCallback done) {
  uint64_t number = 0;
  {
    const MutexLock lock(mutex_);
    Request request{.repository = wanted.repository.ToString(),
                    .digest = wanted.digest,
                    .range = wanted.range,
                    .blob_bytes = wanted.blob_bytes,
                    .until_deadline = wanted.until_deadline,
                    .on_retry = nullptr};
    requests_.push_back(request);
    request.on_retry = std::move(wanted.on_retry);  // Holds on to its flight: not for the record.
    number = requests_.size();
    queue_.push_back({.number = number, .request = std::move(request), .done = std::move(done)});
  }
  changed_.NotifyAll();
  return std::make_unique<Handle>(*this, number);
}

fetcher::RegistryClient::Counters FakeRegistryClient::counters() const {
  const MutexLock lock(mutex_);
  return {.requests = requests_.size(), .body_bytes = body_bytes_};
}

void FakeRegistryClient::Cancel(uint64_t number) {
  {
    const MutexLock lock(mutex_);
    const auto found = std::ranges::find(queue_, number, &Pending::number);
    if (found == queue_.end()) {
      return;
    }
    found->cancelled = true;
  }
  changed_.NotifyAll();
}

Result<std::string> FakeRegistryClient::Answer(const Request& request) {
  Script script;
  {
    const MutexLock lock(mutex_);
    script = script_;
  }
  if (script) {
    if (auto scripted = script(request)) {
      return std::move(*scripted);
    }
  }
  const MutexLock lock(mutex_);
  const auto found = blobs_.find(request.digest);
  if (found == blobs_.end()) {
    return NotFound("no blob {}", request.digest.ToString());
  }
  body_bytes_ += request.range.length;
  return found->second.substr(request.range.offset, request.range.length);
}

void FakeRegistryClient::Run() {
  for (;;) {
    Pending next;
    {
      const MutexLock lock(mutex_);
      auto ready = queue_.end();
      for (;;) {
        ready = std::ranges::find_if(
            queue_, [&](const Pending& p) { return p.cancelled || !held_ || stopping_; });
        if (ready != queue_.end() || stopping_) {
          break;
        }
        changed_.Wait(mutex_);
      }
      if (ready == queue_.end()) {
        return;
      }
      next = std::move(*ready);
      queue_.erase(ready);
    }
    next.done(next.cancelled ? Result<std::string>(Cancelled("fake")) : Answer(next.request));
  }
}

}  // namespace floe::cachemgr::testing
