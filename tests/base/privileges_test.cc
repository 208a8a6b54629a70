#include "base/privileges.h"

#include <linux/capability.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <span>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"

namespace floe {
namespace {

using ::testing::HasSubstr;

// /proc/self/status of a child that kept these.
std::string StatusAfterKeeping(std::span<const int> kept) {
  std::array<int, 2> ends{};
  EXPECT_EQ(::pipe(ends.data()), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const auto done = KeepCapabilities(kept);
    const std::string status =
        done ? ReadFile("/proc/self/status").value_or("") : done.error().message;
    const bool written = ::write(ends[1], status.data(), status.size()) >= 0;
    ::_exit(written ? 0 : 1);
  }
  ::close(ends[1]);
  std::string status(16384, '\0');
  size_t length = 0;
  for (ssize_t count = 1; count > 0; length += static_cast<size_t>(count)) {
    count = std::max<ssize_t>(::read(ends[0], status.data() + length, status.size() - length), 0);
  }
  status.resize(length);
  ::close(ends[0]);
  int code = -1;
  EXPECT_EQ(::waitpid(child, &code, 0), child);
  EXPECT_EQ(code, 0);
  return status;
}

TEST(PrivilegesTest, OnlyTheKeptOnesRemainAndNoneIsGained) {
  if (::geteuid() != 0) {
    GTEST_SKIP() << "without root there is nothing to give up";
  }
  const std::array kept = {CAP_CHOWN, CAP_SYS_ADMIN};
  const std::string status = StatusAfterKeeping(kept);
  for (const char* set : {"CapPrm", "CapEff", "CapBnd"}) {
    EXPECT_THAT(status, HasSubstr(std::string(set) + ":\t0000000000200001\n"));
  }
  EXPECT_THAT(status, HasSubstr("CapInh:\t0000000000000000\n"));
  EXPECT_THAT(status, HasSubstr("CapAmb:\t0000000000000000\n"));
  EXPECT_THAT(status, HasSubstr("NoNewPrivs:\t1\n"));
}

TEST(PrivilegesTest, NoneMayBeKept) {
  EXPECT_THAT(StatusAfterKeeping({}), HasSubstr("CapEff:\t0000000000000000\n"));
}

}  // namespace
}  // namespace floe
