#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace floe::cachemgr {

/// An extent of a verified group, with its bytes.
struct ExtentPiece {
  uint64_t device_offset = 0;
  std::span<const std::byte> bytes;
  uint32_t group = 0;
};

}  // namespace floe::cachemgr
