#include "cachemgr/inherited_fds.h"

#include <fcntl.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <optional>
#include <string>

namespace floe::cachemgr {
namespace {

constexpr int kFirstFd = 3;

std::optional<int> Number(const char* variable) {
  const char* text = std::getenv(variable);
  if (text == nullptr) {
    return std::nullopt;
  }
  const std::string_view view(text);
  int value = 0;
  const auto [end, error] = std::from_chars(view.begin(), view.end(), value);
  return error == std::errc() && end == view.end() ? std::optional(value) : std::nullopt;
}

}  // namespace

UniqueFd TakeInheritedFd(std::string_view name) {
  const char* names = std::getenv("LISTEN_FDNAMES");
  if (names == nullptr || Number("LISTEN_PID") != ::getpid()) {
    return {};
  }
  const int count = Number("LISTEN_FDS").value_or(0);
  std::string_view rest(names);
  for (int i = 0; i < count; ++i) {
    const size_t colon = rest.find(':');
    if (rest.substr(0, colon) == name) {
      const int fd = kFirstFd + i;
      return ::fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 ? UniqueFd(fd) : UniqueFd();
    }
    if (colon == std::string_view::npos) {
      break;
    }
    rest.remove_prefix(colon + 1);
  }
  return {};
}

}  // namespace floe::cachemgr
