#include "cachemgr/stream/device_writer.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/file.h"

namespace floe::cachemgr {

using image::Placement;

DeviceWriter::DeviceWriter(int fd, MakeRoom make_room)
    : fd_(fd), make_room_(std::move(make_room)), writer_({.fd = fd, .make_room = make_room_}) {}

Result<void> DeviceWriter::OnFile(std::span<const image::TarFragment> data, uint64_t size_bytes) {
  segments_.clear();
  FLOE_RETURN_IF_ERROR(image::PlaceFile(data, size_bytes, device_end_, segments_));
  current_ = written_.size();
  image::PlaceData(data, segments_, written_);
  return Ok();
}

//  written_  | current_    | next        |
//  content      ^ archive_offset
Result<void> DeviceWriter::OnContent(uint64_t archive_offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    while (current_ < written_.size() &&
           archive_offset - written_[current_].archive_offset >= written_[current_].length) {
      ++current_;
    }
    if (current_ == written_.size() || archive_offset < written_[current_].archive_offset) {
      return Internal("content of no file at {} of the archive", archive_offset);
    }
    const Placement& run = written_[current_];
    const uint64_t done = archive_offset - run.archive_offset;
    const auto part = bytes.first(std::min<uint64_t>(bytes.size(), run.length - done));
    FLOE_RETURN_IF_ERROR(writer_.Append(run.device_offset + done, part));
    archive_offset += part.size();
    bytes = bytes.subspan(part.size());
  }
  return Ok();
}

Result<void> DeviceWriter::Finish(std::span<const Placement> placements, uint64_t device_bytes) {
  FLOE_RETURN_IF_ERROR(writer_.Flush());
  if (!std::ranges::equal(placements, written_)) {
    FLOE_RETURN_IF_ERROR(MoveUp(placements));
    // A hole may end the last file, where others lay before.
    FLOE_RETURN_IF_ERROR(SetSize(placements.empty() ? 0 : placements.back().device_end()));
  }
  return SetSize(device_bytes);
}

Result<void> DeviceWriter::SetSize(uint64_t bytes) const {
  return ::ftruncate(fd_, static_cast<off_t>(bytes)) == 0
             ? Ok()
             : Result<void>(ErrnoError(errno, "set the size of the data file"));
}

// In the same file: nothing moves down, so nothing is overwritten before it was read.
Result<void> DeviceWriter::MoveUp(std::span<const Placement> placements) {
  moved_ = true;
  buffer_.resize(RunWriter::kRunBytes);
  RunWriter writer({.fd = fd_, .fill_gaps = true, .make_room = make_room_});
  auto from = written_.begin();
  for (const Placement& to : placements) {
    from = std::find_if(from, written_.end(), [&](const Placement& written) {
      return written.archive_offset >= to.archive_offset;
    });
    if (from == written_.end() || from->archive_offset != to.archive_offset ||
        from->length != to.length || from->device_offset < to.device_offset) {
      return Internal("no content at {} of the archive for the device", to.archive_offset);
    }
    FLOE_RETURN_IF_ERROR(Move(*from, to.device_offset, writer));
  }
  return writer.Flush();
}

Result<void> DeviceWriter::Move(const Placement& from, uint64_t to, RunWriter& writer) {
  for (uint64_t done = 0; done < from.length;) {
    const auto part = std::span(buffer_).first(
        static_cast<size_t>(std::min<uint64_t>(from.length - done, buffer_.size())));
    FLOE_RETURN_IF_ERROR(PreadAll(fd_, part, from.device_offset + done));
    FLOE_RETURN_IF_ERROR(writer.Append(to + done, part));
    done += part.size();
  }
  return Ok();
}

}  // namespace floe::cachemgr
