#include "fetcher/transport.h"

#include <future>
#include <utility>

namespace floe::fetcher {

std::string HttpResponse::Header(const std::string& lower_case_name) const {
  auto found = headers.find(lower_case_name);
  return found == headers.end() ? "" : found->second;
}

Result<HttpResponse> HttpTransport::Do(HttpRequest request) {
  auto promise = std::make_shared<std::promise<Result<HttpResponse>>>();
  std::future<Result<HttpResponse>> future = promise->get_future();
  std::unique_ptr<HttpExchange> exchange = Start(
      std::move(request), [promise](Result<HttpResponse> r) { promise->set_value(std::move(r)); });
  return future.get();
}

}  // namespace floe::fetcher
