#include "snapshotter/root_store.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "base/file.h"

namespace floe::snapshotter {

Result<std::unique_ptr<MetaStore>> OpenRootStore(const RootLayout& layout, const Clock& clock) {
  std::error_code error;
  const bool was_there = std::filesystem::exists(layout.instance(), error);
  if (error) {
    return ErrnoError(error.value(), "stat " + layout.instance().native());
  }
  auto store =
      MetaStore::Open(layout.metadata(), clock, was_there ? Missing::kRefuse : Missing::kCreate);
  if (!store && store.error().code == ErrorCode::kDataLoss) {
    Error why = store.error();
    why.message +=
        fmt::format("; to repair it: floe-snapshotter --root {} --repair", layout.root().native());
    return why;
  }
  if (store && !was_there) {
    FLOE_RETURN_IF_ERROR(WriteFileAtomically(layout.instance(), (*store)->instance()));
  }
  return store;
}

}  // namespace floe::snapshotter
