#pragma once

#include <span>

#include "base/result.h"

namespace floe {

/// Gives up every capability (capabilities(7), CAP_...) but these, for this process and for what it
/// starts, and sees to it that no program gains any (no_new_privs). What the process does not have
/// it does not get. Before other threads run: they keep what they have.
Result<void> KeepCapabilities(std::span<const int> kept);

}  // namespace floe
