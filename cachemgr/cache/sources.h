#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "fetcher/registry_client.h"

namespace floe::cachemgr {

/// A place that a blob can be fetched from.
struct Source {
  fetcher::Repository repository;
  bool plain_http = false;
  bool operator==(const Source&) const = default;
};

/// Sources as JSON (blobs/<key>/sources.json, docs/cache.md) and back. DataLoss when it is not
/// that.
std::string EncodeSources(const std::vector<Source>& sources);
Result<std::vector<Source>> DecodeSources(const std::string& json);

/// The registry clients: one for everything, and one for each registry that a source wants spoken
/// to over plain HTTP. Thread-safe.
class RegistryClients {
 public:
  /// Makes a client, with `plain_http_registry` (when not empty) added to the configured ones.
  using Factory = std::function<Result<std::unique_ptr<fetcher::RegistryClient>>(
      const std::string& plain_http_registry)>;
  explicit RegistryClients(Factory factory) : factory_(std::move(factory)) {}

  /// The client for a source, made when it is first asked for. It lives as long as this.
  Result<fetcher::RegistryClient*> For(const Source& source);
  /// Requests that all clients have sent.
  [[nodiscard]] uint64_t Requests() const;

 private:
  const Factory factory_;
  mutable Mutex mutex_;
  std::map<std::string, std::unique_ptr<fetcher::RegistryClient>> clients_ FLOE_GUARDED_BY(mutex_);
};

}  // namespace floe::cachemgr
