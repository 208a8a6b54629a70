// /proc/self/mountinfo and /proc/self/cgroup: the kernel writes the lines, others choose the names
// in them.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/check.h"
#include "cachemgr/keeper/own_cgroup.h"
#include "cachemgr/mounts/mount_points.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::vector<std::string> kSeeds = {
      "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
      "30 22 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
      "31 22 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
      "90 22 0:77 / /a\\040b\\134c ro shared:2 master:3 - erofs none ro\n",
      "0::/system.slice/a.service\n4:cpu,cpuacct:/group\n1:name=systemd:/\n"};
  floe::testing::FuzzInput input(data, size);
  const std::string text = floe::testing::EditedText(input, kSeeds);
  for (const char* path : {"/", "/sys/fs/cgroup", "/a b\\c", ""}) {
    (void)floe::cachemgr::FindMountPoint(text, path);
  }
  for (const auto& [cgroup, mountinfo] :
       {std::pair(text, kSeeds[0]), std::pair(kSeeds[1], text), std::pair(text, text)}) {
    for (const std::string& root : floe::cachemgr::CgroupRoots(cgroup, mountinfo)) {
      FLOE_CHECK(mountinfo.find(root) != std::string::npos);
    }
  }
  return 0;
}
