#include "fetcher/registry/blob_stream.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/log.h"
#include "fetcher/http/content_range.h"

namespace floe::fetcher {
namespace {

constexpr int kOk = 200;
// So often a sink that gets nothing may say that it does not want to wait any more.
constexpr std::chrono::seconds kHeartbeat{1};

}  // namespace

Result<void> BlobStream::Run(const RegistryClient::Sink& sink) {
  while (offset_ < size_bytes_) {
    uint64_t before = offset_;
    Result<void> result = StreamOnce(sink);
    if (result) {
      continue;
    }
    // The call itself retried what failed before the first byte. A stream that moved goes on.
    bool lost = result.error().code == ErrorCode::kUnavailable && !sink_failed_;
    if (!lost || offset_ == before || deadline_.Expired()) {
      return result;
    }
    LogDebug("blob stream resumes digest={} offset={} error=\"{}\"", digest_.ToString(), offset_,
             result.error().message);
  }
  return Ok();
}

RegistryRequest BlobStream::MakeRequest() const {
  RegistryRequest request;
  request.repository = repository_;
  request.path = "blobs/" + digest_.ToString();
  request.blob = digest_;
  request.deadline = deadline_;
  ByteRange rest{.offset = offset_, .length = size_bytes_ - offset_};
  if (offset_ > 0) {
    request.headers.emplace("Range", RangeHeader(rest));
    request.on_headers = [rest](const HttpResponse& response) {
      return CheckRangeAnswer(response, rest);
    };
  } else {
    request.on_headers = [size = size_bytes_](const HttpResponse& response) -> Result<void> {
      std::string length = response.Header("content-length");
      if (response.status != kOk || (!length.empty() && length != fmt::format("{}", size))) {
        return DataLoss("status {} with {} bytes instead of a blob of {}", response.status,
                        length.substr(0, 20), size);
      }
      return Ok();
    };
  }
  return request;
}

Result<void> BlobStream::StreamOnce(const RegistryClient::Sink& sink) {
  auto queue = std::make_shared<Queue>();
  RegistryRequest request = MakeRequest();
  request.sink = [queue, left = size_bytes_ -
                                offset_](std::span<const std::byte> bytes) mutable -> Result<void> {
    if (bytes.size() > left) {
      return DataLoss("more bytes than the blob has");
    }
    left -= bytes.size();
    queue->Push(bytes);
    return Ok();
  };
  request.wants_pause = [queue] {
    MutexLock lock(queue->mutex);
    return queue->paused;
  };
  RegistryCall::Done done = [queue](const Result<RegistryAnswer>& answer) {
    MutexLock lock(queue->mutex);
    queue->ended = true;
    queue->result = answer ? Ok() : Result<void>(answer.error());
    queue->changed.NotifyAll();
  };
  CallHandle call = session_.Start(std::move(request), std::move(done));
  Result<void> drained = Drain(*queue, call, sink);
  if (!drained) {
    call.Cancel();
    return drained;
  }
  return offset_ == size_bytes_ ? Ok()
                                : Result<void>(DataLoss("blob {} ends after {} of {} bytes",
                                                        digest_.ToString(), offset_, size_bytes_));
}

Result<void> BlobStream::Drain(Queue& queue, const CallHandle& call,
                               const RegistryClient::Sink& sink) {
  for (;;) {
    std::string chunk;
    bool resume = false;
    {
      MutexLock lock(queue.mutex);
      const auto heartbeat = std::chrono::steady_clock::now() + kHeartbeat;
      while (queue.chunks.empty() && !queue.ended &&
             queue.changed.WaitUntil(queue.mutex, heartbeat)) {
      }
      if (queue.chunks.empty() && queue.ended) {
        return queue.result;
      }
      if (!queue.chunks.empty()) {
        chunk = std::move(queue.chunks.front());
        queue.chunks.pop_front();
        queue.queued_bytes -= chunk.size();
      }
      resume = queue.queued_bytes <= kLowBytes && std::exchange(queue.paused, false);
    }
    if (resume) {
      call.SetPaused(false);
    }
    Result<void> taken = sink(std::as_bytes(std::span(chunk)));
    if (!taken) {
      sink_failed_ = true;
      return taken;
    }
    offset_ += chunk.size();
  }
}

void BlobStream::Queue::Push(std::span<const std::byte> bytes) {
  std::string chunk(bytes.size(), '\0');
  std::copy(bytes.begin(), bytes.end(), std::as_writable_bytes(std::span(chunk)).begin());
  MutexLock lock(mutex);
  queued_bytes += chunk.size();
  chunks.push_back(std::move(chunk));
  paused = paused || queued_bytes > kHighBytes;
  changed.NotifyAll();
}

}  // namespace floe::fetcher
