#pragma once

#include <map>
#include <memory>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "cachemgr/channel/fanotify/fanotify_journal.h"
#include "cachemgr/keeper/keeper_client.h"

namespace floe::cachemgr {

/// The line to the keeper, and what a former process of this root had left with it.
struct Inheritance {
  std::unique_ptr<KeeperClient> keeper = {};
  std::map<std::string, UniqueFd> held = {};        ///< By the names that the channels use.
  std::map<std::string, UniqueFd> data_files = {};  ///< Marked by fanotify, by device key.
  std::unique_ptr<FanotifyJournal> journal = {};    ///< Its numbers are occupied.

  /// What has the name, or an invalid descriptor.
  UniqueFd Take(const std::string& name);
};

/// Early in a process: no thread of ours may run yet, because descriptor numbers are occupied.
/// NotFound: there is no keeper. Unavailable: there is one, which does not answer.
Result<Inheritance> Inherit(const KeeperClient::Options& options);

}  // namespace floe::cachemgr
