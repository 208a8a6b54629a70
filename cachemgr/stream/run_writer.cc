#include "cachemgr/stream/run_writer.h"

#include <algorithm>
#include <cstring>

#include "base/byte_range.h"
#include "base/check.h"
#include "base/file.h"

namespace floe::cachemgr {
RunWriter::RunWriter(Options options)
    : options_(std::move(options)), run_(std::make_unique_for_overwrite<std::byte[]>(kRunBytes)) {}

Result<void> RunWriter::Append(uint64_t offset, std::span<const std::byte> bytes) {
  const uint64_t end = run_offset_ + run_bytes_;
  FLOE_CHECK(offset >= end);
  if (options_.fill_gaps || AlignUp(end, kBlockBytes) >= AlignDown(offset, kBlockBytes)) {
    FLOE_RETURN_IF_ERROR(PutZeros(offset - end));
  } else {
    FLOE_RETURN_IF_ERROR(Flush());
    run_offset_ = AlignDown(offset, kBlockBytes);
    FLOE_RETURN_IF_ERROR(PutZeros(offset - run_offset_));
  }
  return Put(bytes);
}

Result<void> RunWriter::Flush() {
  const uint64_t end = run_offset_ + run_bytes_;
  FLOE_RETURN_IF_ERROR(PutZeros(AlignUp(end, kBlockBytes) - end));
  return WriteRun();
}

Result<void> RunWriter::Put(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const auto part = bytes.first(std::min(bytes.size(), kRunBytes - run_bytes_));
    std::memcpy(run_.get() + run_bytes_, part.data(), part.size());
    run_bytes_ += part.size();
    bytes = bytes.subspan(part.size());
    if (run_bytes_ == kRunBytes) {
      FLOE_RETURN_IF_ERROR(WriteRun());
    }
  }
  return Ok();
}

Result<void> RunWriter::PutZeros(uint64_t count) {
  while (count > 0) {
    const auto part = static_cast<size_t>(std::min<uint64_t>(count, kRunBytes - run_bytes_));
    std::memset(run_.get() + run_bytes_, 0, part);
    run_bytes_ += part;
    count -= part;
    if (run_bytes_ == kRunBytes) {
      FLOE_RETURN_IF_ERROR(WriteRun());
    }
  }
  return Ok();
}

Result<void> RunWriter::WriteRun() {
  if (run_bytes_ == 0) {
    return Ok();
  }
  FLOE_RETURN_IF_ERROR(RetryWithRoom(options_.make_room, [&] {
    return PwriteAll(options_.fd, {run_.get(), run_bytes_}, run_offset_);
  }));
  run_offset_ += run_bytes_;
  run_bytes_ = 0;
  return Ok();
}

}  // namespace floe::cachemgr
