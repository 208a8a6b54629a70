#include "fetcher/registry/registry_session.h"

#include <future>
#include <utility>

#include "base/check.h"

namespace floe::fetcher {

void CallHandle::Cancel() const {
  if (!call_.expired()) {
    tasks_->Post([weak = call_] {
      if (auto call = weak.lock()) {
        call->Fail(Cancelled("cancelled by the caller"));
      }
    });
  }
}

void CallHandle::SetPaused(bool paused) const {
  if (call_.expired()) {
    return;
  }
  tasks_->Post([weak = call_, paused] {
    if (auto call = weak.lock()) {
      call->SetPaused(paused);
    }
  });
}

RegistrySession::RegistrySession(const RegistryOptions& options,
                                 std::unique_ptr<CurlTransport> transport)
    : transport_(std::move(transport)), context_(options, *transport_, transport_->tasks()) {}

RegistrySession::~RegistrySession() {
  context_.tasks->Post([this] {
    context_.stopping = true;
    while (!context_.running.empty()) {
      (*context_.running.begin())->Fail(Cancelled("the registry client is shutting down"));
    }
  });
  transport_->Stop();
}

Result<std::unique_ptr<RegistrySession>> RegistrySession::Create(const RegistryOptions& options) {
  CurlTransportOptions transport_options{
      .ca_file = options.ca_file,
      .user_agent = options.user_agent,
      .max_connections_per_host = options.max_connections_per_host,
      .connect_timeout = options.connect_timeout,
      .http2 = options.http2};
  FLOE_ASSIGN_OR_RETURN(std::unique_ptr<CurlTransport> transport,
                        CurlTransport::Create(transport_options));
  return std::unique_ptr<RegistrySession>(new RegistrySession(options, std::move(transport)));
}

CallHandle RegistrySession::Start(RegistryRequest request, RegistryCall::Done done) {
  auto call = std::make_shared<RegistryCall>(context_, std::move(request), std::move(done));
  CallHandle handle(context_.tasks, call);
  context_.tasks->Post([call = std::move(call)] { call->Start(); });
  return handle;
}

Result<RegistryAnswer> RegistrySession::Run(RegistryRequest request) {
  FLOE_CHECK(!context_.tasks->OnLoopThread());
  std::promise<Result<RegistryAnswer>> promise;
  std::future<Result<RegistryAnswer>> future = promise.get_future();
  Start(std::move(request),
        [&promise](Result<RegistryAnswer> answer) { promise.set_value(std::move(answer)); });
  return future.get();
}

}  // namespace floe::fetcher
