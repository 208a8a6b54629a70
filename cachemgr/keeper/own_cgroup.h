#pragma once

#include <string>
#include <vector>

namespace floe::cachemgr {

/// A control group that this process made for itself, so that the end of the one it was started in
/// (a service, a pod) does not end it too. Best effort: hierarchies that cannot be written to are
/// left alone.
class OwnCgroup {
 public:
  /// Moves into `name` right below the root of every hierarchy where the process is not in the
  /// root.
  static OwnCgroup Enter(const std::string& name);
  /// Back to the root of each, and removes what Enter made, if nobody else is in it.
  void Leave();
  [[nodiscard]] size_t hierarchies() const { return entered_.size(); }

 private:
  struct Hierarchy {
    std::string root;
    std::string own;
  };
  std::vector<Hierarchy> entered_;
};

/// Where the hierarchies are mounted in which a process has a group other than the root: from the
/// text of /proc/self/cgroup and /proc/self/mountinfo (cgroups(7), proc(5)).
std::vector<std::string> CgroupRoots(const std::string& cgroup, const std::string& mountinfo);

}  // namespace floe::cachemgr
