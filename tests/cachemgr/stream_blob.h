#pragma once

#include "tests/cachemgr/test_blob.h"

namespace floe::cachemgr::testing {

/// A tar+zstd layer of two frames: unit 0 has the first 64 KiB of the archive, unit 1 all the rest
/// and is streamed. Its files: 4 MiB of random bytes, 62 MiB that compress to almost nothing, 1 MiB
/// of random bytes. Made once; it takes a moment.
const TestBlob& StreamBlob();

}  // namespace floe::cachemgr::testing
