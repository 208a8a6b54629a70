#include "cachemgr/keeper/own_cgroup.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <sstream>
#include <string_view>

#include "base/file.h"

namespace floe::cachemgr {
namespace {

std::set<std::string> SplitSet(const std::string& text, char separator) {
  std::set<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) {
    if (!part.empty()) {
      parts.insert(std::move(part));
    }
  }
  return parts;
}

bool MoveInto(const std::string& directory) {
  auto file = OpenFile(directory + "/cgroup.procs", O_WRONLY);
  constexpr std::string_view kSelf = "0";
  return file && ::write(file->get(), kSelf.data(), kSelf.size()) > 0;
}

}  // namespace

std::vector<std::string> CgroupRoots(const std::string& cgroup, const std::string& mountinfo) {
  // Controllers of each hierarchy that counts; the unified one has none.
  std::vector<std::set<std::string>> wanted;
  std::istringstream lines(cgroup);
  for (std::string line; std::getline(lines, line);) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second != std::string::npos && line.substr(second + 1) != "/") {
      wanted.push_back(SplitSet(line.substr(first + 1, second - first - 1), ','));
    }
  }
  std::vector<std::string> roots;
  std::istringstream mounts(mountinfo);
  for (std::string line; std::getline(mounts, line);) {
    const size_t dash = line.find(" - ");
    if (dash == std::string::npos) {
      continue;
    }
    std::istringstream before(line.substr(0, dash));
    std::istringstream after(line.substr(dash + 3));
    std::string id, parent, device, root, target, type, source, options;
    before >> id >> parent >> device >> root >> target;
    after >> type >> source >> options;
    if (root != "/" || (type != "cgroup" && type != "cgroup2")) {
      continue;
    }
    const std::set<std::string> known = SplitSet(options, ',');
    const bool counts = std::ranges::any_of(wanted, [&](const auto& controllers) {
      return type == "cgroup2" ? controllers.empty()
                               : !controllers.empty() && std::ranges::includes(known, controllers);
    });
    if (counts && std::ranges::find(roots, target) == roots.end()) {
      roots.push_back(target);
    }
  }
  return roots;
}

OwnCgroup OwnCgroup::Enter(const std::string& name) {
  OwnCgroup own;
  const auto cgroup = ReadFile("/proc/self/cgroup");
  const auto mountinfo = ReadFile("/proc/self/mountinfo");
  if (!cgroup || !mountinfo) {
    return own;
  }
  for (const std::string& root : CgroupRoots(*cgroup, *mountinfo)) {
    const std::string directory = fmt::format("{}/{}", root, name);
    const bool made = ::mkdir(directory.c_str(), 0755) == 0;
    if ((made || errno == EEXIST) && MoveInto(directory)) {
      own.entered_.push_back({.root = root, .own = directory});
    } else if (made) {
      ::rmdir(directory.c_str());
    }
  }
  return own;
}

void OwnCgroup::Leave() {
  for (const Hierarchy& hierarchy : entered_) {
    (void)MoveInto(hierarchy.root);
    ::rmdir(hierarchy.own.c_str());
  }
  entered_.clear();
}

}  // namespace floe::cachemgr
