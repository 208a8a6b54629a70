#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "cachemgr/stream/run_writer.h"
#include "image/content_sink.h"
#include "image/layer_layout.h"

namespace floe::cachemgr {

/// Writes the contents of a layer's files into one file as they are decoded, laid out as the
/// layer's device will be if no file is replaced or hidden by a later entry of the archive. Where
/// some are, Finish moves the others up.
///
///     archive   |hdr| a |hdr|  b  |hdr|  a again  |
///     written   | a  | b     | a again   |
///     device    | b     | a again   |
///
/// One thread at a time. Memory: one run, and a few words for each run of a file's data.
class DeviceWriter final : public image::ContentSink {
 public:
  /// `fd`: an empty file, open for reading and writing; must outlive this.
  explicit DeviceWriter(int fd, MakeRoom make_room = [] { return false; });

  Result<void> OnFile(std::span<const image::TarFragment> data, uint64_t size_bytes) override;
  Result<void> OnContent(uint64_t archive_offset, std::span<const std::byte> bytes) override;

  /// After the last byte: the file becomes the device of these placements
  /// (IndexedLayer::placements), `device_bytes` long, a multiple of 4096; what no placement covers
  /// is zero. Not synced. Internal: the placements are not those of the files that came.
  Result<void> Finish(std::span<const image::Placement> placements, uint64_t device_bytes);
  /// Finish had to move contents.
  [[nodiscard]] bool moved() const { return moved_; }

 private:
  Result<void> MoveUp(std::span<const image::Placement> placements);
  [[nodiscard]] Result<void> SetSize(uint64_t bytes) const;
  Result<void> Move(const image::Placement& from, uint64_t to, RunWriter& writer);

  const int fd_;
  const MakeRoom make_room_;
  RunWriter writer_;
  std::vector<image::Segment> segments_;   ///< Of the current file.
  std::vector<image::Placement> written_;  ///< As it was written; by archive offset.
  size_t current_ = 0;                     ///< In written_: where the next content belongs.
  uint64_t device_end_ = 0;
  bool moved_ = false;
  std::vector<std::byte> buffer_;
};

}  // namespace floe::cachemgr
