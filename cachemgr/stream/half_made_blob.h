#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "cachemgr/cache/sources.h"
#include "cachemgr/stream/retry_with_room.h"

namespace floe::cachemgr {

/// A blob that is being made beside those of the store: a directory under another name, which no
/// reader and no evictor takes for a blob. Seal makes it a whole one, which BlobStore::Adopt gives
/// its name; what is not adopted is removed with this, after a kill by
/// BlobStore::RemoveLeftovers. One thread at a time.
class HalfMadeBlob {
 public:
  /// In `blobs`, the directory of the store, which is made if it is missing.
  static Result<std::unique_ptr<HalfMadeBlob>> Create(const std::filesystem::path& blobs);
  /// In `directory`, which exists and is empty.
  static Result<std::unique_ptr<HalfMadeBlob>> In(const std::filesystem::path& directory);
  ~HalfMadeBlob();
  HalfMadeBlob(const HalfMadeBlob&) = delete;
  HalfMadeBlob& operator=(const HalfMadeBlob&) = delete;

  [[nodiscard]] const std::filesystem::path& directory() const { return directory_; }
  /// Of the data file; open for reading and writing.
  [[nodiscard]] int data_fd() const { return data_fd_.get(); }

  /// The data file has all bytes of the device of `map`, an encoded BlobMap with this `key`. What
  /// makes a blob of them is written, as after the last fill: all is present for this boot, and the
  /// next checkpoint makes it so for ever. ResourceExhausted: the disk is full.
  Result<void> Seal(const std::string& map, const std::string& key, const std::string& boot_id,
                    const std::vector<Source>& sources, const MakeRoom& make_room);

 private:
  HalfMadeBlob(std::filesystem::path directory, UniqueFd data_fd)
      : directory_(std::move(directory)), data_fd_(std::move(data_fd)) {}

  const std::filesystem::path directory_;
  UniqueFd data_fd_;
};

}  // namespace floe::cachemgr
