#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <future>
#include <set>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "base/file.h"
#include "base/unique_fd.h"
#include "fetcher/http/content_range.h"
#include "fetcher/http/curl_transport.h"
#include "fetcher/registry/blob_stream.h"
#include "fetcher/registry_client.h"
#include "tests/support/result_matchers.h"
#include "tests/support/temp_dir.h"

namespace floe::fetcher {
namespace {

using floe::testing::TempDir;
using std::chrono::seconds;

constexpr const char* kNginx = "/usr/sbin/nginx";
constexpr const char* kRepositoryPath = "library/app";

int RunAndWait(std::vector<std::string> arguments) {
  std::vector<char*> argv;
  for (std::string& argument : arguments) {
    argv.push_back(argument.data());
  }
  argv.push_back(nullptr);
  pid_t pid = 0;
  int status = -1;
  if (::posix_spawnp(&pid, argv[0], nullptr, nullptr, argv.data(), environ) == 0) {
    (void)::waitpid(pid, &status, 0);
  }
  return status;
}

/// A real nginx with TLS on 127.0.0.1 that serves blobs from a directory.
class NginxTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::access(kNginx, X_OK) != 0) {
      GTEST_SKIP() << "nginx is not installed";
    }
    ASSERT_EQ(RunAndWait({"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                          "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                          "/CN=floe test", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout",
                          directory_ / "key.pem", "-out", directory_ / "cert.pem", "-batch"}),
              0)
        << "openssl makes no certificate";
    blob_ = std::string(1 << 20, 'b');
    for (size_t i = 0; i < blob_.size(); ++i) {
      blob_[i] = static_cast<char>(i * 2654435761U >> 13U);
    }
    digest_ = Digest::Of(blob_);
    FLOE_ASSERT_OK(CreateDirectories(directory_ / "blobs"));
    FLOE_ASSERT_OK(WriteFileAtomically(directory_ / ("blobs/" + digest_.ToString()), blob_, 0644));
  }

  void TearDown() override {
    if (pid_ > 0) {
      (void)::kill(pid_, SIGTERM);
      (void)::waitpid(pid_, nullptr, 0);
    }
  }

  /// nginx inherits a listening socket, so that no other process can take the port.
  void StartNginx(const std::string& protocols) {
    UniqueFd listener(::socket(AF_INET, SOCK_STREAM, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    ASSERT_EQ(::bind(listener.get(), generic, size), 0);
    ASSERT_EQ(::listen(listener.get(), 128), 0);
    ASSERT_EQ(::getsockname(listener.get(), generic, &size), 0);
    port_ = ntohs(address.sin_port);
    std::string config = fmt::format(
        R"({4} daemon off; worker_processes 1; pid {0}/pid; error_log {0}/error.log;
events {{ }}
http {{
  access_log off;
  client_body_temp_path {0}/t1; proxy_temp_path {0}/t2; fastcgi_temp_path {0}/t3;
  uwsgi_temp_path {0}/t4; scgi_temp_path {0}/t5;
  server {{
    listen 127.0.0.1:{1} ssl {2};
    ssl_certificate {0}/cert.pem; ssl_certificate_key {0}/key.pem;
    add_header X-Protocol $server_protocol; add_header X-Connection $connection;
    location /v2/{3}/blobs/ {{ alias {0}/blobs/; }}
  }}
}}
)",
        directory_.path().native(), port_, protocols, kRepositoryPath,
        ::geteuid() == 0 ? "user root root;" : "");
    FLOE_ASSERT_OK(WriteFileAtomically(directory_ / "nginx.conf", config));
    std::vector<std::string> arguments = {kNginx, "-c", directory_ / "nginx.conf", "-e",
                                          directory_ / "start.log"};
    std::vector<char*> argv;
    for (std::string& argument : arguments) {
      argv.push_back(argument.data());
    }
    argv.push_back(nullptr);
    std::string inherited = fmt::format("NGINX={};", listener.get());
    std::array<char*, 2> environment = {inherited.data(), nullptr};
    ASSERT_EQ(::posix_spawn(&pid_, kNginx, nullptr, nullptr, argv.data(), environment.data()), 0);
  }

  [[nodiscard]] std::string RegistryName() const { return fmt::format("127.0.0.1:{}", port_); }

  std::unique_ptr<CurlTransport> MakeTransport(bool http2) {
    auto transport = CurlTransport::Create(
        {.ca_file = directory_ / "cert.pem", .max_connections_per_host = 4, .http2 = http2});
    EXPECT_TRUE(transport.has_value());
    return *std::move(transport);
  }

  HttpRequest RangeRequest(ByteRange range) {
    HttpRequest request;
    request.url = fmt::format("https://{}/v2/{}/blobs/{}", RegistryName(), kRepositoryPath,
                              digest_.ToString());
    request.headers.emplace("Range", RangeHeader(range));
    request.deadline = Deadline::After(seconds(60));
    return request;
  }

  /// All at once; the answers in order.
  std::vector<HttpResponse> FetchMany(CurlTransport& transport, size_t count) {
    std::vector<std::promise<Result<HttpResponse>>> promises(count);
    std::vector<std::unique_ptr<HttpExchange>> exchanges;
    for (size_t i = 0; i < count; ++i) {
      exchanges.push_back(transport.Start(RangeRequest({i * 4096, 4096}),
                                          [&promise = promises[i]](Result<HttpResponse> answer) {
                                            promise.set_value(std::move(answer));
                                          }));
    }
    std::vector<HttpResponse> answers;
    for (size_t i = 0; i < count; ++i) {
      Result<HttpResponse> answer = promises[i].get_future().get();
      EXPECT_TRUE(answer.has_value()) << (answer ? "" : answer.error().ToString());
      if (answer) {
        FLOE_EXPECT_OK(CheckRangeAnswer(*answer, {i * 4096, 4096}));
        EXPECT_TRUE(answer->body == blob_.substr(i * 4096, 4096));
        answers.push_back(*std::move(answer));
      }
    }
    return answers;
  }

  static size_t CountConnections(const std::vector<HttpResponse>& answers) {
    std::set<std::string> connections;
    for (const HttpResponse& answer : answers) {
      connections.insert(answer.Header("x-connection"));
    }
    return connections.size();
  }

  TempDir directory_;
  std::string blob_;
  Digest digest_;
  uint16_t port_ = 0;
  pid_t pid_ = -1;
};

TEST_F(NginxTest, RangesMultiplexOverOneConnection) {
  ASSERT_NO_FATAL_FAILURE(StartNginx("http2"));
  auto transport = MakeTransport(true);
  std::vector<HttpResponse> answers = FetchMany(*transport, 64);
  ASSERT_EQ(answers.size(), 64U);
  EXPECT_EQ(answers[0].Header("x-protocol"), "HTTP/2.0");
  EXPECT_EQ(CountConnections(answers), 1U);
  EXPECT_EQ(transport->counters().connections, 1U);
}

TEST_F(NginxTest, Http11OverTlsStaysWithinTheConnectionLimit) {
  ASSERT_NO_FATAL_FAILURE(StartNginx(""));
  auto transport = MakeTransport(true);
  for (int round = 0; round < 2; ++round) {
    std::vector<HttpResponse> answers = FetchMany(*transport, 64);
    ASSERT_EQ(answers.size(), 64U);
    EXPECT_EQ(answers[0].Header("x-protocol"), "HTTP/1.1");
  }
  EXPECT_LE(transport->counters().connections, 4U);
}

TEST_F(NginxTest, Http2CanBeSwitchedOff) {
  ASSERT_NO_FATAL_FAILURE(StartNginx("http2"));
  auto transport = MakeTransport(false);
  std::vector<HttpResponse> answers = FetchMany(*transport, 16);
  ASSERT_EQ(answers.size(), 16U);
  EXPECT_EQ(answers[0].Header("x-protocol"), "HTTP/1.1");
}

TEST_F(NginxTest, AnUnknownCertificateIsAFailedPrecondition) {
  ASSERT_NO_FATAL_FAILURE(StartNginx("http2"));
  FLOE_ASSERT_OK_AND_ASSIGN(auto transport, CurlTransport::Create({}));
  FLOE_EXPECT_ERROR(transport->Do(RangeRequest({0, 1})), ErrorCode::kFailedPrecondition,
                    "certificate");
}

TEST_F(NginxTest, ALoopbackRegistryThatWantsTlsGetsIt) {
  ASSERT_NO_FATAL_FAILURE(StartNginx("http2"));
  FLOE_ASSERT_OK_AND_ASSIGN(auto client,
                            RegistryClient::Create({.ca_file = directory_ / "cert.pem",
                                                    .docker_config_dir = directory_.path()}));
  Repository repository{RegistryName(), kRepositoryPath};
  FLOE_ASSERT_OK_AND_ASSIGN(bool there,
                            client->HasBlob(repository, digest_, Deadline::After(seconds(60))));
  EXPECT_TRUE(there);
  for (uint64_t i = 0; i < 3; ++i) {
    FLOE_ASSERT_OK_AND_ASSIGN(std::string bytes,
                              client->FetchRangeSync({.repository = repository,
                                                      .digest = digest_,
                                                      .range = {i, 4096},
                                                      .deadline = Deadline::After(seconds(60))}));
    EXPECT_TRUE(bytes == blob_.substr(i, 4096));
  }
  EXPECT_EQ(client->counters().requests, 5U);  // The first one went out in plain HTTP.
}

TEST_F(NginxTest, AStreamOverHttp2PausesAndArrivesWhole) {
  ASSERT_NO_FATAL_FAILURE(StartNginx("http2"));
  blob_ = std::string(64 << 20, 'x');
  digest_ = Digest::Of(blob_);
  FLOE_ASSERT_OK(WriteFileAtomically(directory_ / ("blobs/" + digest_.ToString()), blob_, 0644));
  FLOE_ASSERT_OK_AND_ASSIGN(auto client,
                            RegistryClient::Create({.ca_file = directory_ / "cert.pem",
                                                    .docker_config_dir = directory_.path()}));
  Sha256Hasher hasher;
  FLOE_ASSERT_OK(client->StreamBlob(
      {RegistryName(), kRepositoryPath}, digest_, blob_.size(),
      [&](std::span<const std::byte> bytes) {
        while (client->counters().body_bytes < BlobStream::kHighBytes) {
          std::this_thread::yield();
        }
        hasher.Update(bytes);
        return Ok();
      },
      Deadline::After(seconds(60))));
  EXPECT_EQ(hasher.Finish(), digest_);
}

}  // namespace
}  // namespace floe::fetcher
