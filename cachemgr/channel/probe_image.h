#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/byte_range.h"
#include "base/result.h"

namespace floe::cachemgr {

/// The image that probes mount: two files of one block on one device, far enough apart that no
/// read-ahead joins them.
struct ProbeImage {
  std::string bootstrap;  ///< Bytes of the EROFS image.
  std::string key;        ///< Of its one device.
  uint64_t device_bytes = 0;
  ByteRange filled;     ///< On the device: file "filled".
  ByteRange refused;    ///< On the device: file "refused".
  std::string content;  ///< Of "filled".
};

Result<ProbeImage> MakeProbeImage();

}  // namespace floe::cachemgr
