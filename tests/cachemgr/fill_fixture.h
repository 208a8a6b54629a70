#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "base/file.h"
#include "base/mutex.h"
#include "cachemgr/cache/blob_store.h"
#include "cachemgr/cache/filler.h"
#include "tests/cachemgr/fake_registry_client.h"
#include "tests/cachemgr/test_blob.h"
#include "tests/support/fake_clock.h"
#include "tests/support/result_matchers.h"
#include "tests/support/temp_dir.h"

namespace floe::cachemgr::testing {

/// What a kernel request got; counts the answers.
class Outcome {
 public:
  void Set(const Result<void>& outcome) {
    {
      const MutexLock lock(mutex_);
      ++answers_;
      outcome_ = outcome;
    }
    changed_.NotifyAll();
  }
  /// Waits for the answer.
  Result<void> Get() {
    const MutexLock lock(mutex_);
    while (!outcome_) {
      changed_.Wait(mutex_);
    }
    return *outcome_;
  }
  [[nodiscard]] int answers() {
    const MutexLock lock(mutex_);
    return answers_;
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  std::optional<Result<void>> outcome_ FLOE_GUARDED_BY(mutex_);
  int answers_ FLOE_GUARDED_BY(mutex_) = 0;
};

/// A channel's side of the interface: what a reader thread does with a request.
class FakeReply final : public DemandReply {
 public:
  explicit FakeReply(std::shared_ptr<Outcome> outcome) : outcome_(std::move(outcome)) {}
  void Send(const Result<void>& outcome) override { outcome_->Set(outcome); }

 private:
  std::shared_ptr<Outcome> outcome_;
};

class FillTest : public ::testing::Test {
 protected:
  /// Opens the blob with a filler; call once.
  void Start(const TestBlob& blob, const FillOptions& options = NoReadAhead(), int sources = 1) {
    test_blob_ = blob;
    auto client = std::make_unique<FakeRegistryClient>();
    client_ = client.get();
    client_->AddBlob(blob.blob);
    clients_ = std::make_unique<RegistryClients>(
        [held = std::make_shared<std::unique_ptr<FakeRegistryClient>>(std::move(client))](
            const std::string&) -> Result<std::unique_ptr<fetcher::RegistryClient>> {
          return std::unique_ptr<fetcher::RegistryClient>(std::move(*held));
        });
    filler_ = std::make_unique<Filler>(options, *clients_, counters_, clock_,
                                       [this] { return make_room_(); });
    (void)blob.Store(directory_.path());
    Reopen();
    std::vector<Source> list;
    for (int i = 0; i < sources; ++i) {
      list.push_back({.repository = {.registry = "r" + std::to_string(i), .path = "app"}});
    }
    FLOE_ASSERT_OK(blob_->AddSources(list));
    FLOE_ASSERT_OK(clients_->For(list.front()));
  }
  /// What a new process would see.
  void Reopen(const std::string& boot_id = "boot-1") {
    blob_.reset();
    auto opened =
        Blob::Open(directory_ / test_blob_.key, test_blob_.key, boot_id, *filler_, counters_);
    FLOE_ASSERT_OK(opened);
    blob_ = *opened;
  }
  void TearDown() override {
    if (filler_ != nullptr) {
      filler_->Stop();
    }
  }

  static FillOptions NoReadAhead() {
    FillOptions options;
    options.readahead_units = 0;
    return options;
  }

  /// One kernel request.
  std::shared_ptr<Outcome> Read(ByteRange range) {
    auto outcome = std::make_shared<Outcome>();
    if (blob_->TryHit(range)) {
      outcome->Set(Ok());
    } else {
      blob_->Demand(range, std::make_unique<FakeReply>(outcome));
    }
    return outcome;
  }
  /// What the channel would send: from the data file.
  std::string CacheBytes(ByteRange range) {
    std::string bytes(range.length, '?');
    EXPECT_TRUE(
        PreadAll(blob_->cache().data_fd(), std::as_writable_bytes(std::span(bytes)), range.offset)
            .has_value());
    return bytes;
  }
  ByteRange File(size_t i) const {
    return {.offset = test_blob_.file_offsets[i],
            .length = test_blob_.data.inodes[i + 1].size_bytes};
  }

  floe::testing::TempDir directory_;
  floe::testing::FakeClock clock_;
  Counters counters_;
  TestBlob test_blob_;
  FakeRegistryClient* client_ = nullptr;
  std::unique_ptr<RegistryClients> clients_;
  std::function<bool()> make_room_ = [] { return false; };  ///< Set before Start.
  std::unique_ptr<Filler> filler_;
  std::shared_ptr<Blob> blob_;
};

}  // namespace floe::cachemgr::testing
