#include "cachemgr/mounts/inheritance.h"

#include <utility>

#include "base/log.h"
#include "cachemgr/channel/fanotify/fanotify_channel.h"

namespace floe::cachemgr {
namespace {

// Nothing of this process may get the number of a journaled event, nor stand in its place.
Result<std::unique_ptr<FanotifyJournal>> OpenJournal(KeeperClient& keeper, UniqueFd memfd) {
  FLOE_ASSIGN_OR_RETURN(auto journal, FanotifyJournal::Open(std::move(memfd)));
  if (!journal->inherited().empty()) {
    FLOE_ASSIGN_OR_RETURN(UniqueFd moved, journal->CopyAside(journal->memfd()));
    FLOE_ASSIGN_OR_RETURN(journal, FanotifyJournal::Open(std::move(moved)));
    FLOE_RETURN_IF_ERROR(keeper.Move([&](int fd) { return journal->CopyAside(fd); }));
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

Result<Inheritance> Inherit(const KeeperClient::Options& options) {
  Inheritance inheritance;
  FLOE_ASSIGN_OR_RETURN(inheritance.keeper, KeeperClient::Connect(options));
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
  constexpr std::string_view kPrefix = FanotifyChannel::kBlobPrefix;
  for (auto it = inheritance.held.begin(); it != inheritance.held.end();) {
    auto entry = it++;
    if (entry->first.starts_with(kPrefix)) {
      inheritance.data_files[entry->first.substr(kPrefix.size())] = std::move(entry->second);
      inheritance.held.erase(entry);
    }
  }
  return inheritance;
}

}  // namespace floe::cachemgr
