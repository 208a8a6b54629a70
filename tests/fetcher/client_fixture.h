#pragma once

#include <condition_variable>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/mutex.h"
#include "fetcher/registry_client.h"
#include "tests/support/fake_registry.h"
#include "tests/support/result_matchers.h"
#include "tests/support/temp_dir.h"

namespace floe::fetcher {

using floe::testing::FakeRegistry;
using floe::testing::Fault;
using floe::testing::TempDir;
using std::chrono::milliseconds;
using std::chrono::seconds;

/// Bytes that differ everywhere, so that a shifted range never looks right.
inline std::string PatternBytes(size_t count) {
  std::string bytes(count, '\0');
  uint32_t state = 12345;
  for (char& byte : bytes) {
    state = state * 1664525U + 1013904223U;
    byte = static_cast<char>(state >> 24U);
  }
  return bytes;
}

/// Collects the results of asynchronous fetches.
class Results {
 public:
  RegistryClient::RangeCallback Add() {
    return [this](Result<std::string> result) {
      MutexLock lock(mutex_);
      all_.push_back(std::move(result));
      changed_.NotifyAll();
    };
  }
  /// Waits until there are so many.
  std::vector<Result<std::string>> Wait(size_t count) {
    MutexLock lock(mutex_);
    while (all_.size() < count) {
      changed_.Wait(mutex_);
    }
    return all_;
  }
  Result<std::string> One() { return Wait(1).front(); }

 private:
  Mutex mutex_;
  CondVar changed_;
  std::vector<Result<std::string>> all_ FLOE_GUARDED_BY(mutex_);
};

/// A client, a registry and another host, one blob, and a check that no descriptor leaks.
class ClientTest : public ::testing::Test {
 protected:
  ClientTest() {
    options_.docker_config_dir = config_dir_.path();
    options_.retry_delay = milliseconds(1);
    blob_ = PatternBytes(100000);
    digest_ = registry_->AddBlob(repository_.path, blob_);
    repository_.registry = registry_->host();
  }

  void TearDown() override {
    client_.reset();
    registry_.reset();
    storage_.reset();
    EXPECT_EQ(OpenDescriptors(), descriptors_before_);
  }

  RegistryClient& client() {
    if (client_ == nullptr) {
      auto created = RegistryClient::Create(options_);
      EXPECT_TRUE(created.has_value());
      client_ = *std::move(created);
    }
    return *client_;
  }

  [[nodiscard]] RangeRequest Wanted(ByteRange range, Deadline deadline = Soon()) const {
    return {.repository = repository_, .digest = digest_, .range = range, .deadline = deadline};
  }
  Result<std::string> Fetch(ByteRange range, Deadline deadline = Deadline::After(seconds(60))) {
    return client().FetchRangeSync(Wanted(range, deadline));
  }
  [[nodiscard]] std::string Slice(ByteRange range) const {
    return blob_.substr(range.offset, range.length);
  }
  void ExpectFetches(ByteRange range) {
    Result<std::string> bytes = Fetch(range);
    ASSERT_TRUE(bytes.has_value()) << bytes.error().ToString();
    EXPECT_EQ(*bytes, Slice(range));
  }
  static Deadline Soon() { return Deadline::After(seconds(60)); }

  static size_t OpenDescriptors() {
    std::filesystem::directory_iterator fds("/proc/self/fd");
    return static_cast<size_t>(std::distance(begin(fds), end(fds)));
  }

 private:
  const size_t descriptors_before_ = OpenDescriptors();

 protected:
  TempDir config_dir_;
  RegistryOptions options_;
  std::unique_ptr<FakeRegistry> registry_ = std::make_unique<FakeRegistry>();
  std::unique_ptr<FakeRegistry> storage_ = std::make_unique<FakeRegistry>();
  Repository repository_{.registry = "", .path = "library/app"};
  std::string blob_;
  Digest digest_;
  std::unique_ptr<RegistryClient> client_;
};

}  // namespace floe::fetcher
