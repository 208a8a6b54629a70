#pragma once

namespace floe {

/// Prints the broken invariant and aborts.
[[noreturn]] void CheckFailed(const char* condition, const char* file, int line);

}  // namespace floe

/// For invariants of our own code only; never for input from kernel, network, disk or config.
#define FLOE_CHECK(condition)                              \
  do {                                                     \
    if (!(condition)) {                                    \
      ::floe::CheckFailed(#condition, __FILE__, __LINE__); \
    }                                                      \
  } while (false)
