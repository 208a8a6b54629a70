#include "cachemgr/mounts/mount_points.h"

#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <vector>

#include "base/file.h"

namespace floe::cachemgr {
namespace {

constexpr uint64_t kMaxMountInfoBytes = 256ULL << 20U;
constexpr size_t kEscapeDigits = 3;

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return parts;
}

std::optional<unsigned> Number(std::string_view text, int base) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return value;
}

// Space, tab, newline and backslash stand as \ooo.
std::string Unescape(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto code = text[i] == '\\' && i + kEscapeDigits < text.size()
                          ? Number(text.substr(i + 1, kEscapeDigits), 8)
                          : std::nullopt;
    if (code) {
      plain.push_back(static_cast<char>(*code));
      i += kEscapeDigits;
    } else {
      plain.push_back(text[i]);
    }
  }
  return plain;
}

}  // namespace

// 36 35 98:0 /root /mount\040point rw,noatime shared:1 - ext3 /dev/root rw
// 0  1  2    3     4               5          6...       type follows " - "
std::optional<MountPoint> FindMountPoint(std::string_view mountinfo,
                                         const std::filesystem::path& path) {
  std::optional<MountPoint> found;
  for (const std::string_view line : Split(mountinfo, '\n')) {
    const size_t dash = line.find(" - ");
    const auto fields = Split(line.substr(0, dash), ' ');
    if (dash == std::string_view::npos || fields.size() < 6 ||
        Unescape(fields[4]) != path.native()) {
      continue;
    }
    const auto numbers = Split(fields[2], ':');
    const auto after = Split(line.substr(dash + 3), ' ');
    if (numbers.size() != 2 || after.empty()) {
      continue;
    }
    const auto major_number = Number(numbers[0], 10);
    const auto minor_number = Number(numbers[1], 10);
    if (major_number && minor_number) {
      found = MountPoint{.device = makedev(*major_number, *minor_number),
                         .type = std::string(after[0])};
    }
  }
  return found;
}

Result<std::optional<MountPoint>> CurrentMountPoint(const std::filesystem::path& path) {
  FLOE_ASSIGN_OR_RETURN(const std::string text,
                        ReadFile("/proc/self/mountinfo", kMaxMountInfoBytes));
  return FindMountPoint(text, path);
}

bool SuperblockIsAlive(dev_t device) {
#ifdef SYS_ustat
  // The kernel's own encoding (new_encode_dev in include/linux/kdev_t.h).
  const unsigned number =
      (minor(device) & 0xffU) | (major(device) << 8U) | ((minor(device) & ~0xffU) << 12U);
  constexpr size_t kUstatBytes = 64;  // struct ustat is smaller.
  std::array<char, kUstatBytes> answer{};
  return ::syscall(SYS_ustat, number, answer.data()) == 0 || errno != EINVAL;
#else
  return device != 0;
#endif
}

}  // namespace floe::cachemgr
