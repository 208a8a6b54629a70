#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace floe::cachemgr {

/// One presence bit for each group of a blob, on disk (docs/cache.md has the layout). Two copies:
///  - *current*: written as groups become present, never synced; counts only for the boot that
///  wrote
///    it (the page cache survives the process, not a power cut);
///  - *synced*: written after the data was synced; counts always.
/// Bits travel in words of 32, each with a check of its own, so what is torn, cut off or
/// overwritten counts as absent. WriteCurrent and WriteSynced may run at the same time, but each
/// one alone.
class PresenceFile {
 public:
  /// What the bits belong to. A file that says otherwise counts as empty.
  struct Identity {
    std::string key = {};  ///< 64 hex digits: the device key.
    uint32_t group_count = 0;
    uint64_t data_inode = 0;   ///< st_ino of the data file.
    std::string boot_id = {};  ///< Of the running kernel (CurrentBootId).
  };

  /// Opens, or creates what is missing or unusable. Only I/O errors fail.
  static Result<std::unique_ptr<PresenceFile>> Open(const std::filesystem::path& path,
                                                    const Identity& identity);

  /// The bits that count, as of Open: bit g % 32 of word g / 32 is group g.
  [[nodiscard]] const std::vector<uint32_t>& words() const { return words_; }
  /// Some of them only count for this boot so far.
  [[nodiscard]] bool has_unsynced() const { return has_unsynced_; }

  /// Records whole words as current, starting at `first_word`. The data they stand for was written
  /// before.
  Result<void> WriteCurrent(uint32_t first_word, std::span<const uint32_t> words);
  /// Records all words as synced and waits until that is durable. The data was synced before.
  Result<void> WriteSynced(std::span<const uint32_t> words);

 private:
  PresenceFile(UniqueFd fd, uint64_t seed, uint32_t word_count)
      : fd_(std::move(fd)), seed_(seed), word_count_(word_count) {}
  Result<void> WriteWords(uint64_t section, uint32_t first_word,
                          std::span<const uint32_t> words) const;
  [[nodiscard]] std::vector<uint32_t> ReadWords(uint64_t section) const;
  [[nodiscard]] uint64_t SectionOffset(uint64_t section) const;

  const UniqueFd fd_;
  const uint64_t seed_;
  const uint32_t word_count_;
  std::vector<uint32_t> words_;
  bool has_unsynced_ = false;
};

inline constexpr uint32_t kGroupsPerWord = 32;

/// /proc/sys/kernel/random/boot_id.
Result<std::string> CurrentBootId();

}  // namespace floe::cachemgr
