#include "fetcher/auth/credential_store.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include <cstdlib>
#include <future>

#include <gtest/gtest.h>

#include "base/file.h"
#include "fetcher/auth/credential_helper.h"
#include "tests/support/result_matchers.h"
#include "tests/support/temp_dir.h"

namespace floe::fetcher {
namespace {

using floe::testing::TempDir;

/// Puts a directory of helper scripts in front of PATH.
class CredentialStoreTest : public ::testing::Test {
 protected:
  CredentialStoreTest() : old_path_(std::getenv("PATH")) {
    ::setenv("PATH", (directory_.path().native() + ":" + old_path_).c_str(), 1);
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
  }
  ~CredentialStoreTest() override { ::setenv("PATH", old_path_.c_str(), 1); }

  void AddHelper(const std::string& name, const std::string& script) {
    std::filesystem::path file = directory_ / ("docker-credential-" + name);
    FLOE_ASSERT_OK(WriteFileAtomically(file, "#!/bin/sh\n" + script, 0700));
  }
  void WriteConfig(const std::string& json) {
    FLOE_ASSERT_OK(WriteFileAtomically(directory_ / "config.json", json));
  }
  Result<Credential> Run(const std::string& helper, Deadline deadline = Deadline::Infinite()) {
    return RunCredentialHelper(helper, "registry.example", deadline, -1);
  }
  static Result<Credential> Find(CredentialStore& store, const std::string& registry) {
    std::promise<Result<Credential>> promise;
    store.Find(registry, [&](Result<Credential> found) { promise.set_value(std::move(found)); });
    return promise.get_future().get();
  }

  TempDir directory_;

 private:
  const std::string old_path_;
};

TEST_F(CredentialStoreTest, AHelperIsAskedForTheServer) {
  AddHelper("good", R"(
read -r url
[ "$1" = get ] || exit 9
printf '{"ServerURL":"%s","Username":"user of %s","Secret":"s3cret"}' "$url" "$url")");
  FLOE_ASSERT_OK_AND_ASSIGN(Credential credential, Run("good"));
  EXPECT_EQ(credential, (Credential{.username = "user of registry.example", .password = "s3cret"}));
}

TEST_F(CredentialStoreTest, TheTokenUserMeansARefreshToken) {
  AddHelper("token", R"(printf '{"Username":"<token>","Secret":"refresh"}')");
  FLOE_ASSERT_OK_AND_ASSIGN(Credential credential, Run("token"));
  EXPECT_EQ(credential, (Credential{.identity_token = "refresh"}));
}

TEST_F(CredentialStoreTest, AHelperThatKnowsNothingIsNoError) {
  AddHelper("none", "echo 'credentials not found in native keychain'; exit 1");
  FLOE_ASSERT_OK_AND_ASSIGN(Credential credential, Run("none"));
  EXPECT_TRUE(credential.empty());
}

TEST_F(CredentialStoreTest, BrokenHelpersFailWithoutRepeatingTheirOutput) {
  AddHelper("fails", "echo s3cret; exit 3");
  AddHelper("odd", "echo s3cret");
  AddHelper("endless", "while :; do echo s3crets3crets3cret; done");
  for (const char* helper : {"fails", "odd", "endless", "missing"}) {
    Result<Credential> credential = Run(helper);
    ASSERT_FALSE(credential.has_value()) << helper;
    EXPECT_EQ(credential.error().code, ErrorCode::kFailedPrecondition) << helper;
    EXPECT_EQ(credential.error().message.find("s3cret"), std::string::npos);
  }
  FLOE_EXPECT_ERROR(Run("../evil"), ErrorCode::kInvalidArgument, "bad name");
}

TEST_F(CredentialStoreTest, AHelperThatHangsIsKilledAtTheDeadline) {
  // It closes its output and lives on: waiting for the end of the file alone would not do.
  AddHelper("hangs", "exec >&-; sleep 1000 & wait");
  AddHelper("silent", "sleep 1000");
  for (const char* helper : {"hangs", "silent"}) {
    FLOE_EXPECT_ERROR(Run(helper, Deadline::After(std::chrono::milliseconds(50))),
                      ErrorCode::kDeadlineExceeded, "no answer in time");
  }
}

TEST_F(CredentialStoreTest, TheFileAnswersWhereNoHelperDoes) {
  AddHelper("none", "echo 'credentials not found in native keychain'; exit 1");
  WriteConfig(R"({"credsStore":"none","auths":{"a.example":{"username":"u","password":"p"}}})");
  CredentialStore store(directory_.path());
  FLOE_ASSERT_OK_AND_ASSIGN(Credential known, Find(store, "a.example"));
  EXPECT_EQ(known, (Credential{.username = "u", .password = "p"}));
  FLOE_ASSERT_OK_AND_ASSIGN(Credential unknown, Find(store, "b.example"));
  EXPECT_TRUE(unknown.empty());
}

TEST_F(CredentialStoreTest, AChangedFileIsReadAnew) {
  CredentialStore store(directory_.path());
  FLOE_ASSERT_OK_AND_ASSIGN(Credential missing, Find(store, "a.example"));
  EXPECT_TRUE(missing.empty());
  WriteConfig(R"({"auths":{"a.example":{"username":"first","password":"p"}}})");
  FLOE_ASSERT_OK_AND_ASSIGN(Credential first, Find(store, "a.example"));
  EXPECT_EQ(first.username, "first");
  WriteConfig(R"({"auths":{"a.example":{"username":"the second","password":"p"}}})");
  FLOE_ASSERT_OK_AND_ASSIGN(Credential second, Find(store, "a.example"));
  EXPECT_EQ(second.username, "the second");
}

TEST_F(CredentialStoreTest, ABrokenFileMeansNoCredentials) {
  WriteConfig("{");
  CredentialStore store(directory_.path());
  FLOE_ASSERT_OK_AND_ASSIGN(Credential credential, Find(store, "a.example"));
  EXPECT_TRUE(credential.empty());
}

TEST_F(CredentialStoreTest, DestructionDoesNotWaitForAHelper) {
  std::filesystem::path started = directory_ / "started";
  ASSERT_EQ(::mkfifo(started.c_str(), 0600), 0);
  AddHelper("silent", "echo > '" + started.native() + "'; sleep 1000");
  WriteConfig(R"({"credsStore":"silent"})");
  CredentialStore store(directory_.path());
  store.Find("a.example", [](const Result<Credential>&) {});
  // Opening the pipe waits for the helper to do the same.
  FLOE_EXPECT_OK(OpenFile(started, O_RDONLY));
}

}  // namespace
}  // namespace floe::fetcher
