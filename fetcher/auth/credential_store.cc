#include "fetcher/auth/credential_store.h"

#include <signal.h>
#include <sys/eventfd.h>

#include <cstdlib>
#include <system_error>

#include "base/check.h"
#include "base/file.h"
#include "base/log.h"
#include "base/thread_name.h"
#include "fetcher/auth/credential_helper.h"

namespace floe::fetcher {
namespace {

namespace fs = std::filesystem;

// Helpers that ask a cloud's metadata service take a second or two.
constexpr std::chrono::seconds kHelperTimeout{20};
constexpr uint64_t kMaxConfigBytes = 4U << 20U;

fs::path ConfigFile(std::string directory) {
  const char* variable = std::getenv("DOCKER_CONFIG");
  const char* home = std::getenv("HOME");
  if (directory.empty() && variable != nullptr) {
    directory = variable;
  }
  if (directory.empty() && home != nullptr) {
    directory = fs::path(home) / ".docker";
  }
  return directory.empty() ? fs::path() : fs::path(directory) / "config.json";
}

}  // namespace

CredentialStore::CredentialStore(std::string config_dir)
    : file_(ConfigFile(std::move(config_dir))), stop_(::eventfd(0, EFD_CLOEXEC)) {
  FLOE_CHECK(stop_.valid());
  thread_ = std::thread([this] { Run(); });
}

CredentialStore::~CredentialStore() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  uint64_t one = 1;
  (void)!::write(stop_.get(), &one, sizeof(one));
  wake_.NotifyAll();
  thread_.join();
}

void CredentialStore::Find(std::string registry, Done done) {
  MutexLock lock(mutex_);
  queue_.emplace_back(std::move(registry), std::move(done));
  wake_.NotifyOne();
}

void CredentialStore::Run() {
  SetThreadName("floe-creds");
  sigset_t pipe;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  (void)::pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
  for (;;) {
    std::pair<std::string, Done> next;
    {
      MutexLock lock(mutex_);
      while (queue_.empty() && !stopping_) {
        wake_.Wait(mutex_);
      }
      if (stopping_) {
        return;
      }
      next = std::move(queue_.front());
      queue_.pop_front();
    }
    next.second(Lookup(next.first));
  }
}

Result<Credential> CredentialStore::Lookup(const std::string& registry) {
  ReadConfigIfChanged();
  std::string helper = config_.HelperFor(registry);
  if (!helper.empty()) {
    Result<Credential> found = RunCredentialHelper(helper, CredentialServerUrl(registry),
                                                   Deadline::After(kHelperTimeout), stop_.get());
    if (found && !found->empty()) {
      return found;
    }
    if (!found && found.error().code == ErrorCode::kDeadlineExceeded) {
      return Unavailable("{}", found.error().message);
    }
    if (!found) {
      LogWarning("credential helper failed registry={} error=\"{}\"", registry,
                 found.error().message);
    }
  }
  return config_.CredentialFor(registry);
}

void CredentialStore::ReadConfigIfChanged() {
  std::error_code time_error;
  std::error_code size_error;
  auto version =
      std::pair(fs::last_write_time(file_, time_error), fs::file_size(file_, size_error));
  if (file_.empty() || time_error || size_error) {
    config_ = DockerConfig();
    version_ = {};
    return;
  }
  if (version == version_) {
    return;
  }
  version_ = version;
  Result<std::string> text = ReadFile(file_, kMaxConfigBytes);
  Result<DockerConfig> config =
      text ? DockerConfig::Parse(*text) : Result<DockerConfig>(text.error());
  if (!config) {
    LogWarning("credentials unreadable file={} error=\"{}\"", file_.native(),
               config.error().message);
  }
  config_ = config ? *std::move(config) : DockerConfig();
}

}  // namespace floe::fetcher
