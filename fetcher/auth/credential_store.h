#pragma once

#include <deque>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <utility>

#include "base/mutex.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "fetcher/auth/credential.h"
#include "fetcher/auth/docker_config.h"

namespace floe::fetcher {

/// Looks credentials up in docker's config.json and its helpers, one after the other on a thread of
/// its own ("floe-creds"), because helpers are processes. The file is read anew when it changes.
/// Thread-safe.
class CredentialStore {
 public:
  using Done = std::function<void(Result<Credential>)>;

  /// `config_dir` empty: $DOCKER_CONFIG, else ~/.docker.
  explicit CredentialStore(std::string config_dir);
  /// Kills a running helper; what is still queued is dropped without an answer.
  ~CredentialStore();
  CredentialStore(const CredentialStore&) = delete;
  CredentialStore& operator=(const CredentialStore&) = delete;

  /// `done` runs once, on the store's thread. An empty credential when nothing is known, and also,
  /// with a warning in the log, when the file or the helper is broken: a public image needs
  /// neither. Unavailable when a helper took too long.
  void Find(std::string registry, Done done);

 private:
  void Run();
  Result<Credential> Lookup(const std::string& registry);
  void ReadConfigIfChanged();

  const std::filesystem::path file_;
  UniqueFd stop_;  ///< An eventfd; readable from the destructor on.

  // Only on the store's thread.
  DockerConfig config_;
  std::pair<std::filesystem::file_time_type, uintmax_t> version_;  ///< Time and size of the file.

  Mutex mutex_;
  CondVar wake_;
  std::deque<std::pair<std::string, Done>> queue_ FLOE_GUARDED_BY(mutex_);
  bool stopping_ FLOE_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace floe::fetcher
