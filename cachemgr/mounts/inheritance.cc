#include "cachemgr/mounts/inheritance.h"

#include <fcntl.h>

#include <cerrno>
#include <utility>

#include "base/log.h"
#include "cachemgr/channel/fanotify/fanotify_channel.h"

namespace floe::cachemgr {
namespace {

// Nothing of this process may get the number of a journaled event, nor stand in its place.
Result<std::unique_ptr<FanotifyJournal>> OpenJournal(KeeperClient& keeper, UniqueFd memfd) {
  FLOE_ASSIGN_OR_RETURN(auto journal, FanotifyJournal::Open(std::move(memfd)));
  if (const int lowest = journal->LowestFreeNumber(); lowest > 0) {
    UniqueFd moved(::fcntl(journal->memfd(), F_DUPFD_CLOEXEC, lowest));
    if (!moved.valid()) {
      return ErrnoError(errno, "move the fanotify journal");
    }
    FLOE_ASSIGN_OR_RETURN(journal, FanotifyJournal::Open(std::move(moved)));
    FLOE_RETURN_IF_ERROR(keeper.MoveAbove(lowest));
    FLOE_RETURN_IF_ERROR(journal->OccupyNumbers());
  }
  return journal;
}

}  // namespace

UniqueFd Inheritance::Take(const std::string& name) {
  const auto found = held.find(name);
  if (found == held.end()) {
    return {};
  }
  UniqueFd fd = std::move(found->second);
  held.erase(found);
  return fd;
}

Result<Inheritance> Inherit(const std::filesystem::path& address,
                            const std::filesystem::path& program) {
  Inheritance inheritance;
  FLOE_ASSIGN_OR_RETURN(inheritance.keeper,
                        KeeperClient::Connect({.address = address, .program = program}));
  auto memfd = inheritance.keeper->Find(FanotifyChannel::kJournalName);
  if (memfd) {
    auto journal = OpenJournal(*inheritance.keeper, std::move(*memfd));
    if (journal) {
      inheritance.journal = std::move(*journal);
    } else {
      LogError("fanotify journal of a former process not read reason=\"{}\"",
               journal.error().message);
    }
  } else if (memfd.error().code != ErrorCode::kNotFound) {
    return memfd.error();
  }
  FLOE_ASSIGN_OR_RETURN(inheritance.held, inheritance.keeper->All());
  (void)inheritance.Take(FanotifyChannel::kJournalName);
  return inheritance;
}

}  // namespace floe::cachemgr
