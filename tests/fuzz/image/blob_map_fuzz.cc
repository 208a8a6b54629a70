// A BlobMap file: what Open accepts can be read to its last record.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/check.h"
#include "base/file.h"
#include "image/blob_map.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const floe::UniqueFd file(::memfd_create("blob_map", MFD_CLOEXEC));
  FLOE_CHECK(floe::PwriteAll(file.get(), std::as_bytes(std::span(data, size)), 0).has_value());
  const auto map = floe::image::BlobMap::Open("/proc/self/fd/" + std::to_string(file.get()), "");
  if (!map.has_value()) {
    return 0;
  }
  uint64_t extents = 0;
  for (uint32_t i = 0; i < (*map)->unit_count(); ++i) {
    const floe::image::UnitView unit = (*map)->unit(i);
    for (uint32_t n = 0; n < unit.group_count; ++n) {
      const floe::image::GroupView group = (*map)->group(unit.first_group + n);
      FLOE_CHECK(group.unit == i && group.in_unit.end() <= unit.decoded_length);
      for (uint32_t e = 0; e < group.extent_count; ++e, ++extents) {
        const floe::image::ExtentView extent = (*map)->GroupExtent(group, e);
        FLOE_CHECK(extent.offset_in_group + extent.length <= group.in_unit.length);
        FLOE_CHECK(extent.device_offset + extent.length <= (*map)->device_size_bytes());
      }
    }
  }
  FLOE_CHECK(extents == (*map)->extent_count());
  (void)(*map)->FirstExtentEndingAfter((*map)->device_size_bytes() / 2);
  return 0;
}
