#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace floe {

/// The BLAKE3 hash (default output of 32 bytes, no key) of these bytes, as the BLAKE3 specification
/// of 2020 defines it. RAFS images name their chunks by it. Any thread.
std::array<uint8_t, 32> Blake3(std::span<const std::byte> bytes);

}  // namespace floe
