#include "cachemgr/inherited_fds.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <string>

#include <gtest/gtest.h>

namespace floe::cachemgr {
namespace {

// In a process of its own, whose descriptors 3 and 4 are /dev/null.
bool InChild(const std::string& pid, const std::string& count, const std::string& names,
             const std::function<bool()>& check) {
  const pid_t child = ::fork();
  if (child == 0) {
    const int null = ::open("/dev/null", O_RDONLY);
    bool right = ::dup2(null, 3) == 3 && ::dup2(null, 4) == 4;
    ::setenv("LISTEN_PID", pid.empty() ? std::to_string(::getpid()).c_str() : pid.c_str(), 1);
    ::setenv("LISTEN_FDS", count.c_str(), 1);
    ::setenv("LISTEN_FDNAMES", names.c_str(), 1);
    right = right && check();
    ::_exit(right ? 0 : 1);
  }
  int status = -1;
  return child > 0 && ::waitpid(child, &status, 0) == child && status == 0;
}

TEST(InheritedFdsTest, TheNamedOneIsTakenAndClosedOnExec) {
  EXPECT_TRUE(InChild("", "2", "other:cachefiles", [] {
    const UniqueFd fd = TakeInheritedFd("cachefiles");
    return fd.get() == 4 && (::fcntl(4, F_GETFD) & FD_CLOEXEC) != 0;
  }));
}

TEST(InheritedFdsTest, WhatIsNotThereIsInvalid) {
  const auto none = [] { return !TakeInheritedFd("cachefiles").valid(); };
  EXPECT_TRUE(InChild("", "2", "other:another", none));
  EXPECT_TRUE(InChild("", "1", "other:cachefiles", none)) << "more names than descriptors";
  EXPECT_TRUE(InChild("", "x", "cachefiles", none));
  EXPECT_TRUE(InChild("1", "1", "cachefiles", none)) << "meant for another process";
}

}  // namespace
}  // namespace floe::cachemgr
