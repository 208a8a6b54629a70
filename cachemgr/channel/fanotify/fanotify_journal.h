#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "base/byte_range.h"
#include "base/mutex.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace floe::cachemgr {

/// The inode that an event is about.
struct FileId {
  dev_t device = 0;
  ino_t inode = 0;
  auto operator<=>(const FileId&) const = default;
};

/// A pre-content event as it lies in a slot.
struct FanotifyEvent {
  int fd = -1;                      ///< The number that its answer must name.
  ByteRange range = {};             ///< Of the marked file; empty: the kernel said none.
  std::optional<FileId> file = {};  ///< Not known when the reader died right after the read.
};

/// The events that a process has read from a fanotify group and not yet answered, in memory that
/// outlives it: a memfd, which the keeper holds together with the group. The kernel writes each
/// event straight into a slot, so none is read but unjournaled; a successor answers them by their
/// descriptor numbers.
///
/// Numbers collide: the kernel gives an answer to the oldest waiting event of its number. So before
/// it reads the group, a successor occupies every journaled number (OccupyNumbers), and no new
/// event gets one of them. Thread-safe but for OccupyNumbers.
///
/// Layout, version 1, native endianness (it never leaves the machine, nor the boot): a header of
/// 4096 bytes with a magic, the version and the number of slots; then the slots.
class FanotifyJournal {
 public:
  static constexpr uint32_t kSlots = 8192;

  /// A new, empty one.
  static Result<std::unique_ptr<FanotifyJournal>> Create();
  /// That of a former process. DataLoss: it is none.
  static Result<std::unique_ptr<FanotifyJournal>> Open(UniqueFd memfd);
  ~FanotifyJournal();
  FanotifyJournal(const FanotifyJournal&) = delete;
  FanotifyJournal& operator=(const FanotifyJournal&) = delete;

  /// Takes a free slot; empty: every one holds an unanswered event. Give it back with Clear.
  std::optional<uint32_t> Take();
  /// Where the kernel writes the slot's event: room for one, not for two.
  [[nodiscard]] std::span<std::byte> Buffer(uint32_t slot);
  /// After the event's file was looked at.
  void SetFile(uint32_t slot, const FileId& file);
  /// The slot's event; DataLoss when what the kernel wrote is not one.
  [[nodiscard]] Result<FanotifyEvent> Event(uint32_t slot) const;
  /// The number alone, also where the rest cannot be read; -1: none.
  [[nodiscard]] int Number(uint32_t slot) const;
  /// The slot is free again. After its event was answered, before its descriptor is closed.
  void Clear(uint32_t slot);

  /// The slots that hold an event, when this was opened.
  [[nodiscard]] const std::vector<uint32_t>& inherited() const { return inherited_; }
  /// Opens /dev/null under the number of every inherited event that nothing of this process has;
  /// what has one must stay open until the event is answered. Before other threads start.
  Result<void> OccupyNumbers();
  /// A copy of a descriptor, under a number of no inherited event.
  [[nodiscard]] Result<UniqueFd> CopyAside(int fd) const;
  /// Once for each answered event: true when its number was something else of this process already
  /// when OccupyNumbers came, and must not be closed.
  bool TakeForeign(int number);

  [[nodiscard]] int memfd() const { return memfd_.get(); }

 private:
  struct Slot;
  FanotifyJournal(UniqueFd memfd, std::byte* memory);
  [[nodiscard]] Slot& At(uint32_t slot) const;
  [[nodiscard]] std::set<int> InheritedNumbers() const;

  const UniqueFd memfd_;
  std::byte* const memory_;
  std::vector<uint32_t> inherited_;
  Mutex mutex_;
  std::set<int> foreign_ FLOE_GUARDED_BY(mutex_);
  std::vector<uint32_t> free_ FLOE_GUARDED_BY(mutex_);
};

}  // namespace floe::cachemgr
