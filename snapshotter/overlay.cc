#include "snapshotter/overlay.h"

#include <string>
#include <system_error>
#include <utility>

#include "snapshotter/labels.h"

namespace floe::snapshotter {
namespace {

std::vector<std::string> MappingOptions(const Labels& labels) {
  std::vector<std::string> options;
  if (const auto uid = labels.find(kLabelUidMapping); uid != labels.end()) {
    options.push_back("uidmap=" + uid->second);
  }
  if (const auto gid = labels.find(kLabelGidMapping); gid != labels.end()) {
    options.push_back("gidmap=" + gid->second);
  }
  return options;
}

std::string LowerdirOption(std::span<const std::filesystem::path> lowers) {
  std::string option = "lowerdir=";
  for (const std::filesystem::path& lower : lowers) {
    option += (&lower == lowers.data() ? "" : ":") + lower.native();
  }
  return option;
}

}  // namespace

OverlaySupport OverlaySupport::Probe(const std::filesystem::path& module_parameters) {
  std::error_code error;
  return {.index = std::filesystem::exists(module_parameters / "index", error)};
}

std::vector<Mount> SnapshotMounts(const RootLayout& layout, uint64_t id, const Info& info,
                                  std::span<const std::filesystem::path> lowers,
                                  OverlaySupport support) {
  std::vector<std::string> options = MappingOptions(info.labels);
  const bool writable = info.kind == Kind::kActive;
  if (lowers.empty() || (!writable && lowers.size() == 1)) {
    options.push_back(writable ? "rw" : "ro");
    options.push_back("rbind");
    const std::filesystem::path source = lowers.empty() ? layout.upper(id) : lowers.front();
    return {{.type = "bind", .source = source.native(), .options = std::move(options)}};
  }
  if (support.index) {
    options.push_back("index=off");
  }
  if (writable) {
    options.push_back("workdir=" + layout.work(id).native());
    options.push_back("upperdir=" + layout.upper(id).native());
  }
  options.push_back(LowerdirOption(lowers));
  return {{.type = "overlay", .source = "overlay", .options = std::move(options)}};
}

}  // namespace floe::snapshotter
