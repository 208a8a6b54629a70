// Any bytes: TarReader ends with entries or InvalidArgument, whatever the pieces they come in.
#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/check.h"
#include "image/layer_index.h"
#include "image/tar_reader.h"
#include "tests/fuzz/tar/fix_checksums.h"

namespace floe::image {
namespace {

/// Checks each entry's promises and keeps a summary to compare.
class Summary final : public TarEntrySink {
 public:
  explicit Summary(uint64_t archive_bytes) : archive_bytes_(archive_bytes) {}

  Result<void> OnEntry(const TarEntry& entry) override {
    uint64_t file_offset = 0;
    uint64_t archive_offset = 0;
    for (const TarFragment& fragment : entry.data) {
      FLOE_CHECK(fragment.length > 0 && fragment.file_offset >= file_offset);
      FLOE_CHECK(fragment.archive_offset >= archive_offset);
      file_offset = fragment.file_offset + fragment.length;
      archive_offset = fragment.archive_offset + fragment.length;
    }
    FLOE_CHECK(file_offset <= entry.size_bytes && entry.size_bytes <= kMaxFileBytes);
    FLOE_CHECK(entry.mtime_nanoseconds < 1'000'000'000);
    last_data_end_ = std::max(last_data_end_, archive_offset);
    text += entry.type;
    text += entry.name + '\0' + entry.link_name + '\0' + std::to_string(entry.size_bytes) +
            std::to_string(archive_offset);
    return Ok();
  }
  void CheckAllDataWasThere() const { FLOE_CHECK(last_data_end_ <= archive_bytes_); }

  std::string text;

 private:
  const uint64_t archive_bytes_;
  uint64_t last_data_end_ = 0;
};

std::string Read(std::string_view archive, size_t step) {
  Summary summary(archive.size());
  TarReader reader(summary);
  Result<void> result;
  for (size_t at = 0; at < archive.size() && result.has_value(); at += step) {
    const std::string_view piece = archive.substr(at, step);
    result = reader.Feed(std::as_bytes(std::span(piece.data(), piece.size())));
  }
  if (result.has_value()) {
    result = reader.Finish();
  }
  if (!result.has_value()) {
    FLOE_CHECK(result.error().code == ErrorCode::kInvalidArgument);
    return summary.text + result.error().message;
  }
  summary.CheckAllDataWasThere();
  return summary.text;
}

}  // namespace
}  // namespace floe::image

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string archive = floe::image::WithChecksums(data, size);
  FLOE_CHECK(floe::image::Read(archive, archive.size() + 1) == floe::image::Read(archive, 333));
  return 0;
}
