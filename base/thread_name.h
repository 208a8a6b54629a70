#pragma once

#include <string_view>

namespace floe {

/// Names the calling thread (at most 15 characters are kept). Names stand in docs/threading.md.
void SetThreadName(std::string_view name);

}  // namespace floe
