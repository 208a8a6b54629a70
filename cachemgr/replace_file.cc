#include "cachemgr/replace_file.h"

#include <fcntl.h>

#include <cerrno>
#include <cstdio>
#include <span>
#include <string>

#include "base/file.h"

namespace floe::cachemgr {

Result<void> ReplaceFile(const std::filesystem::path& path, std::string_view bytes) {
  // One writer at a time for each path: its callers hold a KeyLocks::Holder.
  const std::string temporary = path.native() + ".new";
  FLOE_ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(temporary, O_WRONLY | O_CREAT | O_TRUNC));
  Result<void> written =
      PwriteAll(fd.get(), std::as_bytes(std::span(bytes.data(), bytes.size())), 0);
  if (written && std::rename(temporary.c_str(), path.c_str()) != 0) {
    written = ErrnoError(errno, "rename");
  }
  if (!written) {
    (void)RemoveFile(temporary);
    return WithContext(written.error(), path.native());
  }
  return Ok();
}

}  // namespace floe::cachemgr
