#include "fetcher/http/curl_transport.h"

#include <signal.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include <curl/curl.h>

#include "base/check.h"
#include "base/log.h"
#include "base/thread_name.h"
#include "fetcher/http/ca_bundle.h"
#include "fetcher/http/curl_transfer.h"
#include "fetcher/http/url.h"
#include "fetcher/redact.h"

namespace floe::fetcher {
namespace {

// What servers commonly allow on one HTTP/2 connection.
constexpr size_t kMaxStreams = 100;
constexpr long kMaxIdleConnections = 64;
constexpr size_t kMaxSpareHandles = 64;
constexpr size_t kMaxOrigins = 256;
// Only a bound: a wake-up or a timer comes first.
constexpr std::chrono::milliseconds kLongestPoll{60000};

template <auto Function>
struct Deleter {
  template <typename Handle>
  void operator()(Handle* handle) const {
    Function(handle);
  }
};
using EasyHandle = std::unique_ptr<CURL, Deleter<curl_easy_cleanup>>;
using MultiHandle = std::unique_ptr<CURLM, Deleter<curl_multi_cleanup>>;
using ShareHandle = std::unique_ptr<CURLSH, Deleter<curl_share_cleanup>>;

void InitCurlOnce() {
  static std::once_flag once;
  std::call_once(once, [] { FLOE_CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK); });
}

}  // namespace

class CurlTransport::Loop {
 public:
  Loop(const CurlTransportOptions& options, CaBundle bundle)
      : max_connections_(std::max(1, options.max_connections_per_host)),
        bundle_(std::move(bundle)),
        settings_{.user_agent = options.user_agent,
                  .ca_path = bundle_.path,
                  .connect_timeout = options.connect_timeout,
                  .http2 = options.http2},
        multi_(curl_multi_init()),
        share_(curl_share_init()),
        tasks_(std::make_shared<LoopTasks>([multi = multi_.get()] { curl_multi_wakeup(multi); })) {
    FLOE_CHECK(multi_ != nullptr && share_ != nullptr);
    curl_multi_setopt(multi_.get(), CURLMOPT_PIPELINING, long{CURLPIPE_MULTIPLEX});
    curl_multi_setopt(multi_.get(), CURLMOPT_MAX_HOST_CONNECTIONS,
                      static_cast<long>(max_connections_));
    curl_multi_setopt(multi_.get(), CURLMOPT_MAXCONNECTS, kMaxIdleConnections);
    // One thread uses all of it: the share needs no locks.
    curl_share_setopt(share_.get(), CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
    thread_ = std::thread([this] { Run(); });
  }

  ~Loop() { Stop(); }

  void Stop() {
    if (thread_.joinable()) {
      FLOE_CHECK(!tasks_->OnLoopThread());
      tasks_->Post([this] { stopping_ = true; });
      thread_.join();
    }
  }

  // --- on the loop's thread ---
  void Add(uint64_t id, std::unique_ptr<CurlTransfer> transfer);
  void Cancel(uint64_t id) { Complete(id, Cancelled("cancelled")); }
  void SetPaused(uint64_t id, bool paused);

  // --- any thread ---
  uint64_t NextId() { return next_id_++; }
  [[nodiscard]] const std::shared_ptr<LoopTasks>& tasks() const { return tasks_; }
  CurlCounters& counters() { return counters_; }

 private:
  /// The transfers of one scheme://host:port.
  struct Origin {
    std::deque<uint64_t> waiting;
    std::vector<uint64_t> active;
    bool http1 = false;
  };

  void Run();
  void CollectResults();
  void CancelEverything();
  void Poll();
  void ForgetIdleOrigins();
  void Admit(const std::string& name);
  bool Begin(uint64_t id);
  /// The host turned out to speak HTTP/1.1: what waits inside libcurl comes back into our queue,
  /// where neither connect nor stall timeouts run.
  void LimitToHttp1(const std::string& name);
  void CheckStall(uint64_t id);
  /// Takes the transfer out and runs its callback; nothing when it ended before.
  void Complete(uint64_t id, Result<HttpResponse> result);
  void Detach(CurlTransfer& transfer);
  [[nodiscard]] size_t LimitOf(const Origin& origin) const {
    return origin.http1 ? static_cast<size_t>(max_connections_) : kMaxStreams;
  }

  const int max_connections_;
  const CaBundle bundle_;
  const CurlSettings settings_;
  const MultiHandle multi_;
  const ShareHandle share_;
  const std::shared_ptr<LoopTasks> tasks_;
  CurlCounters counters_;
  std::atomic<uint64_t> next_id_{1};

  // Only on the loop's thread.
  bool stopping_ = false;
  std::unordered_map<uint64_t, std::unique_ptr<CurlTransfer>> transfers_;
  std::unordered_map<CURL*, uint64_t> ids_;
  std::unordered_map<std::string, Origin> origins_;
  std::vector<EasyHandle> spare_;

  std::thread thread_;
};

namespace {

/// The caller's end of one exchange.
class CurlExchange final : public HttpExchange {
 public:
  CurlExchange(std::shared_ptr<LoopTasks> tasks, std::shared_ptr<std::atomic<bool>> ended,
               std::function<void()> cancel, std::function<void(bool)> set_paused)
      : tasks_(std::move(tasks)),
        ended_(std::move(ended)),
        cancel_(std::move(cancel)),
        set_paused_(std::move(set_paused)) {}
  ~CurlExchange() override { CurlExchange::Cancel(); }

  void Cancel() override {
    if (!ended_->load()) {
      tasks_->Post(cancel_);
    }
  }

  void SetPaused(bool paused) override {
    if (ended_->load()) {
      return;
    }
    if (tasks_->OnLoopThread()) {
      set_paused_(paused);
    } else {
      tasks_->Post([set_paused = set_paused_, paused] { set_paused(paused); });
    }
  }

 private:
  const std::shared_ptr<LoopTasks> tasks_;
  const std::shared_ptr<std::atomic<bool>> ended_;
  const std::function<void()> cancel_;
  const std::function<void(bool)> set_paused_;
};

}  // namespace

void CurlTransport::Loop::Run() {
  SetThreadName("floe-fetch");
  // Writing to a connection that the peer has closed must not end the process.
  sigset_t pipe;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  (void)::pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
  tasks_->Attach();
  for (;;) {
    tasks_->RunDue();
    if (stopping_) {
      CancelEverything();
      if (tasks_->TryClose()) {
        break;
      }
      continue;
    }
    int running = 0;
    CURLMcode code = curl_multi_perform(multi_.get(), &running);
    if (code != CURLM_OK) {
      LogError("fetch loop failed error=\"{}\"", curl_multi_strerror(code));
    }
    CollectResults();
    Poll();
  }
  spare_.clear();
}

void CurlTransport::Loop::CollectResults() {
  int left = 0;
  while (CURLMsg* message = curl_multi_info_read(multi_.get(), &left)) {
    auto found = ids_.find(message->easy_handle);
    if (message->msg == CURLMSG_DONE && found != ids_.end()) {
      uint64_t id = found->second;
      Complete(id, transfers_[id]->TakeResult(message->data.result));
    }
  }
}

void CurlTransport::Loop::CancelEverything() {
  while (!transfers_.empty()) {
    Complete(transfers_.begin()->first, Cancelled("the transport is shutting down"));
  }
}

void CurlTransport::Loop::Poll() {
  Clock::TimePoint now = Clock::Real().Now();
  Clock::TimePoint next = std::min(tasks_->NextTimer(), now + kLongestPoll);
  auto wait =
      std::chrono::ceil<std::chrono::milliseconds>(std::max(next - now, Clock::Duration::zero()));
  (void)curl_multi_poll(multi_.get(), nullptr, 0, static_cast<int>(wait.count()), nullptr);
}

void CurlTransport::Loop::Add(uint64_t id, std::unique_ptr<CurlTransfer> transfer) {
  const HttpRequest& request = transfer->request();
  Result<Url> url = Url::Parse(request.url);
  transfer->origin = url ? url->scheme + "://" + url->Authority() : "";
  ForgetIdleOrigins();
  auto [origin, is_new] = origins_.try_emplace(transfer->origin);
  if (is_new) {
    origin->second.http1 = !settings_.http2 || !transfer->origin.starts_with("https:");
  }
  origin->second.waiting.push_back(id);
  if (!request.deadline.infinite()) {
    transfer->deadline_timer = tasks_->RunAt(request.deadline.when(), [this, id] {
      Complete(id, WithFault(DeadlineExceeded("{}: no complete answer in time",
                                              RedactUrl(transfers_[id]->request().url)),
                             FaultKind::kTimedOut));
    });
  }
  transfer->stall_timer =
      tasks_->RunAt(Clock::Real().Now() + request.stall_timeout, [this, id] { CheckStall(id); });
  transfer->on_protocol = [this, id] {
    const CurlTransfer& answered = *transfers_[id];
    Origin& known = origins_[answered.origin];
    if (answered.answered_by_http1() && !known.http1) {
      // Handles must not be taken out within a callback.
      tasks_->Post([this, name = answered.origin] { LimitToHttp1(name); });
    }
    known.http1 = answered.answered_by_http1();
  };
  std::string name = transfer->origin;
  transfers_.emplace(id, std::move(transfer));
  if (!url) {
    Complete(id, std::move(url).error());
    return;
  }
  Admit(name);
}

void CurlTransport::Loop::ForgetIdleOrigins() {
  if (origins_.size() > kMaxOrigins) {
    std::erase_if(origins_, [](const auto& entry) {
      return entry.second.waiting.empty() && entry.second.active.empty();
    });
  }
}

void CurlTransport::Loop::Admit(const std::string& name) {
  // Completing a transfer that cannot begin leads back here: look everything up again.
  for (;;) {
    auto origin = origins_.find(name);
    if (origin == origins_.end()) {
      return;
    }
    Origin& o = origin->second;
    if (o.waiting.empty() || o.active.size() >= LimitOf(o)) {
      return;
    }
    uint64_t id = o.waiting.front();
    o.waiting.pop_front();
    o.active.push_back(id);
    if (!Begin(id)) {
      return;
    }
  }
}

bool CurlTransport::Loop::Begin(uint64_t id) {
  EasyHandle easy;
  if (!spare_.empty()) {
    easy = std::move(spare_.back());
    spare_.pop_back();
  } else {
    easy.reset(curl_easy_init());
    FLOE_CHECK(easy != nullptr);
  }
  CurlTransfer& transfer = *transfers_[id];
  Result<void> configured = transfer.Configure(easy.get(), share_.get(), settings_);
  if (configured && curl_multi_add_handle(multi_.get(), easy.get()) != CURLM_OK) {
    configured = Internal("libcurl refuses the request");
  }
  if (!configured) {
    transfer.Unconfigure();
    Complete(id, std::move(configured).error());
    return false;
  }
  ids_.emplace(easy.release(), id);
  return true;
}

void CurlTransport::Loop::LimitToHttp1(const std::string& name) {
  auto found = origins_.find(name);
  if (found == origins_.end() || !found->second.http1) {
    return;
  }
  Origin& origin = found->second;
  for (size_t i = origin.active.size(); i > LimitOf(origin); --i) {
    uint64_t id = origin.active[i - 1];
    if (!transfers_[id]->started()) {
      Detach(*transfers_[id]);
      origin.active.erase(origin.active.begin() + static_cast<ptrdiff_t>(i - 1));
      origin.waiting.push_front(id);
    }
  }
}

void CurlTransport::Loop::CheckStall(uint64_t id) {
  CurlTransfer& transfer = *transfers_[id];
  std::chrono::milliseconds limit = transfer.request().stall_timeout;
  Clock::TimePoint due = transfer.LastProgress() + limit;
  if (due <= Clock::Real().Now()) {
    Complete(id, WithFault(Unavailable("{}: no progress for {} ms",
                                       RedactUrl(transfer.request().url), limit.count()),
                           FaultKind::kStalled));
    return;
  }
  transfer.stall_timer = tasks_->RunAt(due, [this, id] { CheckStall(id); });
}

void CurlTransport::Loop::SetPaused(uint64_t id, bool paused) {
  auto found = transfers_.find(id);
  if (found != transfers_.end()) {
    found->second->SetPaused(paused);
  }
}

void CurlTransport::Loop::Detach(CurlTransfer& transfer) {
  EasyHandle easy(transfer.easy());
  if (easy == nullptr) {
    return;
  }
  ids_.erase(easy.get());
  (void)curl_multi_remove_handle(multi_.get(), easy.get());
  curl_easy_reset(easy.get());
  transfer.Unconfigure();
  if (spare_.size() < kMaxSpareHandles) {
    spare_.push_back(std::move(easy));
  }
}

void CurlTransport::Loop::Complete(uint64_t id, Result<HttpResponse> result) {
  auto found = transfers_.find(id);
  if (found == transfers_.end()) {
    return;
  }
  std::unique_ptr<CurlTransfer> transfer = std::move(found->second);
  transfers_.erase(found);
  tasks_->CancelTimer(transfer->deadline_timer);
  tasks_->CancelTimer(transfer->stall_timer);
  Detach(*transfer);
  auto origin = origins_.find(transfer->origin);
  std::erase(origin->second.active, id);
  std::erase(origin->second.waiting, id);
  if (!stopping_) {
    Admit(transfer->origin);
  }
  transfer->Finish(std::move(result));
}

// --- the transport itself ---

CurlTransport::CurlTransport(std::unique_ptr<Loop> loop) : loop_(std::move(loop)) {}
CurlTransport::~CurlTransport() = default;

Result<std::unique_ptr<CurlTransport>> CurlTransport::Create(const CurlTransportOptions& options) {
  InitCurlOnce();
  FLOE_ASSIGN_OR_RETURN(CaBundle bundle, CaBundle::Make(options.ca_file));
  return std::unique_ptr<CurlTransport>(
      new CurlTransport(std::make_unique<Loop>(options, std::move(bundle))));
}

std::unique_ptr<HttpExchange> CurlTransport::Start(HttpRequest request, Callback done) {
  Loop* loop = loop_.get();
  uint64_t id = loop->NextId();
  auto ended = std::make_shared<std::atomic<bool>>(false);
  auto transfer = std::make_shared<std::unique_ptr<CurlTransfer>>(std::make_unique<CurlTransfer>(
      std::move(request),
      [ended, done = std::move(done)](Result<HttpResponse> result) {
        ended->store(true);
        done(std::move(result));
      },
      loop->counters()));
  loop->tasks()->Post([loop, id, transfer] { loop->Add(id, std::move(*transfer)); });
  return std::make_unique<CurlExchange>(
      loop->tasks(), std::move(ended), [loop, id] { loop->Cancel(id); },
      [loop, id](bool paused) { loop->SetPaused(id, paused); });
}

void CurlTransport::Stop() { loop_->Stop(); }

const std::shared_ptr<LoopTasks>& CurlTransport::tasks() const { return loop_->tasks(); }

CurlTransport::Counters CurlTransport::counters() const {
  const CurlCounters& counters = loop_->counters();
  return {.requests = counters.requests.load(),
          .body_bytes = counters.body_bytes.load(),
          .connections = counters.connections.load()};
}

}  // namespace floe::fetcher
