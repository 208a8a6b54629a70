#pragma once

#include <memory>

#include "base/result.h"
#include "fetcher/http/curl_transport.h"
#include "fetcher/registry/registry_call.h"

namespace floe::fetcher {

/// The caller's end of a call. Does nothing by itself when destroyed. Thread-safe.
class CallHandle {
 public:
  CallHandle() = default;
  CallHandle(std::shared_ptr<LoopTasks> tasks, std::weak_ptr<RegistryCall> call)
      : tasks_(std::move(tasks)), call_(std::move(call)) {}

  /// The call ends with Cancelled unless it ends otherwise first.
  void Cancel() const;
  void SetPaused(bool paused) const;  ///< Of the transfer that is under way, if any.

 private:
  std::shared_ptr<LoopTasks> tasks_;
  std::weak_ptr<RegistryCall> call_;
};

/// The loop's thread with everything that lives on it. Thread-safe.
class RegistrySession {
 public:
  static Result<std::unique_ptr<RegistrySession>> Create(const RegistryOptions& options);
  /// Every call that is under way ends with Cancelled.
  ~RegistrySession();
  RegistrySession(const RegistrySession&) = delete;
  RegistrySession& operator=(const RegistrySession&) = delete;

  /// `done` runs exactly once, on the loop's thread and never inside Start.
  CallHandle Start(RegistryRequest request, RegistryCall::Done done);
  /// The same, waiting for the answer; never on the loop's thread.
  Result<RegistryAnswer> Run(RegistryRequest request);
  /// Runs the task on the loop's thread.
  void Post(LoopTasks::Task task) { context_.tasks->Post(std::move(task)); }

  [[nodiscard]] CurlTransport::Counters counters() const { return transport_->counters(); }
  [[nodiscard]] const RegistryOptions& options() const { return context_.options; }

 private:
  RegistrySession(const RegistryOptions& options, std::unique_ptr<CurlTransport> transport);

  const std::unique_ptr<CurlTransport> transport_;
  RegistryContext context_;
};

}  // namespace floe::fetcher
