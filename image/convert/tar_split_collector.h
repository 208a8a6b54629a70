#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <unordered_set>

#include "base/result.h"
#include "image/convert/archive_splitter.h"
#include "image/convert/tar_split_writer.h"

namespace floe::image {

/// Makes the tar-split stream of an archive, unless the archive is one of which podman's reader
/// (containers/storage, pkg/chunked) would refuse the layer altogether because stream and table of
/// contents seem to contradict each other. Without a stream it takes such a layer as a whole.
/// One thread at a time.
class TarSplitCollector final : public ArchiveSink {
 public:
  explicit TarSplitCollector(std::unique_ptr<TarSplitWriter> writer) : writer_(std::move(writer)) {}

  Result<void> OnHeaderBytes(std::span<const std::byte> bytes) override;
  Result<void> OnEntry(const TarEntry& entry) override;
  Result<void> OnContent(std::span<const std::byte> bytes) override;
  Result<void> OnPadding(std::span<const std::byte> bytes) override;
  /// Empty: podman is better off without.
  Result<TarSplitWriter::Stream> Finish();

 private:
  Result<void> AddSegment();
  Result<void> EndFile();
  [[nodiscard]] bool IsPlain(const TarEntry& entry) const;

  std::unique_ptr<TarSplitWriter> writer_;
  bool agrees_ = true;        ///< So far: stream and table say the same to podman.
  std::string segment_;       ///< Since the last content.
  size_t padding_bytes_ = 0;  ///< In front of it.
  bool split_segment_ = false;
  std::unordered_set<std::string> names_;
  std::string name_;  ///< Of the entry whose content passes.
  uint64_t size_ = 0, left_ = 0;
  Crc64Iso crc_;
};

}  // namespace floe::image
