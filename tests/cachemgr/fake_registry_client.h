#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "fetcher/registry_client.h"

namespace floe::cachemgr::testing {

/// A registry client without a network: blobs in memory, one thread that answers as the fetch loop
/// does. Thread-safe.
class FakeRegistryClient final : public fetcher::RegistryClient {
 public:
  struct Request {
    std::string repository;
    Digest digest;
    ByteRange range;
    std::optional<uint64_t> blob_bytes;
    bool until_deadline = false;
    std::function<void(const Error&)> on_retry;  ///< A script may say that it tried before.
  };

  FakeRegistryClient();
  ~FakeRegistryClient() override;

  Digest AddBlob(std::string bytes);
  /// Decides what a request gets instead of the right bytes; nothing: the right bytes.
  using Script = std::function<std::optional<Result<std::string>>(const Request&)>;
  void SetScript(Script script);
  /// While held, requests wait.
  void Hold();
  void Release();
  [[nodiscard]] std::vector<Request> requests() const;
  /// Waits until so many requests have been made.
  void WaitForRequests(size_t count) const;

  std::unique_ptr<fetcher::FetchHandle> FetchRange(fetcher::RangeRequest wanted,
                                                   RangeCallback done) override;
  [[nodiscard]] Counters counters() const override;

  // Not used by the cache manager.
  Result<fetcher::Manifest> GetManifest(const fetcher::Repository&, const std::string&,
                                        Deadline) override {
    return Unimplemented("fake");
  }
  Result<std::string> GetBlob(const fetcher::Repository&, const Digest&, uint64_t,
                              Deadline) override {
    return Unimplemented("fake");
  }
  Result<void> StreamBlob(const fetcher::Repository&, const Digest&, uint64_t, const Sink&,
                          Deadline) override {
    return Unimplemented("fake");
  }
  Result<std::vector<fetcher::ReferrerDescriptor>> ListReferrers(const fetcher::Repository&,
                                                                 const Digest&, std::string_view,
                                                                 Deadline) override {
    return Unimplemented("fake");
  }
  Result<bool> HasBlob(const fetcher::Repository&, const Digest&, Deadline) override {
    return Unimplemented("fake");
  }
  Result<void> PushBlob(const fetcher::Repository&, const Digest&, std::string_view,
                        Deadline) override {
    return Unimplemented("fake");
  }
  Result<bool> PushManifest(const fetcher::Repository&, const std::string&, std::string_view,
                            std::string_view, Deadline) override {
    return Unimplemented("fake");
  }

 private:
  class Handle;
  struct Pending {
    uint64_t number = 0;
    Request request;
    RangeCallback done;
    bool cancelled = false;
  };
  void Run();
  Result<std::string> Answer(const Request& request);
  void Cancel(uint64_t number);

  mutable Mutex mutex_;
  mutable CondVar changed_;
  std::map<Digest, std::string> blobs_ FLOE_GUARDED_BY(mutex_);
  Script script_ FLOE_GUARDED_BY(mutex_);
  std::deque<Pending> queue_ FLOE_GUARDED_BY(mutex_);
  std::vector<Request> requests_ FLOE_GUARDED_BY(mutex_);
  uint64_t body_bytes_ FLOE_GUARDED_BY(mutex_) = 0;
  bool held_ FLOE_GUARDED_BY(mutex_) = false;
  bool stopping_ FLOE_GUARDED_BY(mutex_) = false;
  std::jthread thread_;
};

}  // namespace floe::cachemgr::testing
