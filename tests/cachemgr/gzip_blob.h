#pragma once

#include <string>

#include "tests/cachemgr/test_blob.h"

namespace floe::cachemgr::testing {

/// A gzip layer of 30 text files in spans of 16384 bytes, most of which need a window.
struct GzipBlob {
  static GzipBlob Make();
  /// The same, with digests of the units' compressed bytes, as SOCI has them.
  static GzipBlob MakeWithSpanDigests();

  TestBlob blob;
  std::string windows;  ///< The windows part.
};

}  // namespace floe::cachemgr::testing
