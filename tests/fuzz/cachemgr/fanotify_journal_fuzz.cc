// A journal that another process left: any bytes in a few of its slots. What it says can be read,
// and every slot can be used again.
#include <fcntl.h>
#include <linux/fanotify.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/file.h"
#include "cachemgr/channel/fanotify/fanotify_abi.h"
#include "cachemgr/channel/fanotify/fanotify_journal.h"
#include "tests/fuzz/input.h"

namespace floe::cachemgr {
namespace {

constexpr uint64_t kHeaderBytes = 4096;
constexpr uint64_t kSlotBytes = 128;
constexpr size_t kMagicBytes = 16;  // And version and slots: what Open looks at.

/// The memory of a journal, kept from input to input: only what was written is cleaned.
class Memory {
 public:
  Memory() {
    const auto journal = FanotifyJournal::Create();
    FLOE_CHECK(journal.has_value());
    memfd_.Reset(::fcntl((*journal)->memfd(), F_DUPFD_CLOEXEC, 0));
    bytes_ = Size();
    header_ = Read(0, kMagicBytes);
  }

  void Write(uint32_t slot, uint64_t offset, std::string_view bytes) {
    dirty_.insert(slot);
    WriteAt(kHeaderBytes + slot * kSlotBytes + offset, bytes.substr(0, kSlotBytes - offset));
  }
  void WriteHeader(uint64_t offset, std::string_view bytes) { WriteAt(offset, bytes); }
  void Resize(off_t by) {
    FLOE_CHECK(::ftruncate(memfd_.get(), std::max<off_t>(bytes_ + by, 0)) == 0);
  }
  void Clean() {
    FLOE_CHECK(::ftruncate(memfd_.get(), bytes_) == 0);
    for (const uint32_t slot : dirty_) {
      Write(slot, 0, std::string(kSlotBytes, '\0'));
    }
    dirty_.clear();
    WriteAt(0, header_);
  }

  [[nodiscard]] bool valid() const { return Size() == bytes_ && Read(0, kMagicBytes) == header_; }
  [[nodiscard]] Result<std::unique_ptr<FanotifyJournal>> Open() const {
    return FanotifyJournal::Open(UniqueFd(::fcntl(memfd_.get(), F_DUPFD_CLOEXEC, 0)));
  }
  /// The slots that hold an event: its length is not zero.
  [[nodiscard]] std::set<uint32_t> Used() const {
    std::set<uint32_t> used;
    for (const uint32_t slot : dirty_) {
      if (Read(kHeaderBytes + slot * kSlotBytes, sizeof(uint32_t)) != std::string(4, '\0')) {
        used.insert(slot);
      }
    }
    return used;
  }

 private:
  [[nodiscard]] off_t Size() const {
    struct stat status{};
    FLOE_CHECK(::fstat(memfd_.get(), &status) == 0);
    return status.st_size;
  }
  void WriteAt(uint64_t offset, std::string_view bytes) const {
    FLOE_CHECK(PwriteAll(memfd_.get(), std::as_bytes(std::span(bytes)), offset).has_value());
  }
  [[nodiscard]] std::string Read(uint64_t offset, size_t length) const {
    std::string bytes(length, '\0');
    FLOE_CHECK(
        PreadAll(memfd_.get(), std::as_writable_bytes(std::span(bytes)), offset).has_value());
    return bytes;
  }

  UniqueFd memfd_;
  off_t bytes_ = 0;
  std::string header_;
  std::set<uint32_t> dirty_;
};

/// An event as the kernel writes it, but for what the input says.
std::string MakeEvent(testing::FuzzInput& input) {
  struct {
    fanotify_event_metadata metadata;
    FanEventInfoRange range;
  } event{};
  event.metadata.event_len = sizeof(event);
  event.metadata.vers = FANOTIFY_METADATA_VERSION;
  event.metadata.metadata_len = sizeof(event.metadata);
  event.metadata.mask = kFanPreAccess;
  event.metadata.fd = input.Take<uint8_t>();
  event.range.header.info_type = kFanEventInfoTypeRange;
  event.range.header.len = sizeof(event.range);
  event.range.offset = input.Take<uint64_t>();
  event.range.count = input.Take<uint64_t>();
  return {reinterpret_cast<const char*>(&event), sizeof(event)};
}

void Fill(Memory& memory, testing::FuzzInput& input) {
  while (!input.empty()) {
    const size_t action = input.Below(16);
    const size_t number = input.Below(16);
    const auto slot =
        static_cast<uint32_t>(number < 14 ? number : FanotifyJournal::kSlots - number);
    if (action == 0) {
      memory.WriteHeader(input.Below(kMagicBytes), input.Bytes(4));
    } else if (action == 1) {
      memory.Resize(input.Take<int16_t>());
    } else if (action < 8) {
      memory.Write(slot, 0, MakeEvent(input));
    } else {
      const uint64_t offset = input.Below(kSlotBytes);
      memory.Write(slot, offset, input.Bytes(input.Below(33)));
    }
  }
}

/// Occupies the numbers, as a successor does at its start, and gives them back.
void CheckNumbers(FanotifyJournal& journal) {
  std::map<int, bool> was_open;
  for (const uint32_t slot : journal.inherited()) {
    if (const int number = journal.Number(slot); number >= 0) {
      was_open[number] = ::fcntl(number, F_GETFD) >= 0;
    }
  }
  const auto copy = journal.CopyAside(journal.memfd());
  FLOE_CHECK(copy.has_value() && !was_open.contains(copy->get()));
  constexpr int kMostNumbers = 1 << 16;  // The kernel's table grows with the highest.
  if (!was_open.empty() && was_open.rbegin()->first >= kMostNumbers) {
    return;
  }
  FLOE_CHECK(journal.OccupyNumbers().has_value());
  for (const auto& [number, open] : was_open) {
    FLOE_CHECK(journal.TakeForeign(number) == open && !journal.TakeForeign(number));
    if (!open) {
      ::close(number);  // EBADF: beyond what this process may open.
    }
  }
}

void CheckEvents(const FanotifyJournal& journal) {
  for (const uint32_t slot : journal.inherited()) {
    const int number = journal.Number(slot);
    FLOE_CHECK(number >= -1);
    if (const auto event = journal.Event(slot); event.has_value()) {
      FLOE_CHECK(event->fd >= 0 && event->fd == number);
      FLOE_CHECK(!event->file.has_value() || event->file->inode != 0);
    } else {
      FLOE_CHECK(event.error().code == ErrorCode::kDataLoss);
    }
  }
}

/// What is cleared is free again, what is taken was free.
void CheckSlots(FanotifyJournal& journal, std::set<uint32_t> used) {
  constexpr int kTaken = 20;
  for (int i = 0; i < kTaken; ++i) {
    const auto slot = journal.Take();
    FLOE_CHECK(slot.has_value() && used.insert(*slot).second);
    journal.SetFile(*slot, {.device = 1, .inode = 0});
    std::ranges::fill(journal.Buffer(*slot), std::byte{1});
  }
  for (const uint32_t slot : used) {
    journal.Clear(slot);
    FLOE_CHECK(journal.Take() == slot);
    journal.Clear(slot);
    std::ranges::fill(journal.Buffer(slot), std::byte{0});
  }
}

void Run(Memory& memory, testing::FuzzInput& input) {
  Fill(memory, input);
  const auto journal = memory.Open();
  FLOE_CHECK(journal.has_value() == memory.valid());
  if (!journal) {
    FLOE_CHECK(journal.error().code == ErrorCode::kDataLoss);
    return;
  }
  const std::vector<uint32_t>& inherited = (*journal)->inherited();
  const std::set<uint32_t> used = memory.Used();
  FLOE_CHECK(inherited.size() == used.size());
  FLOE_CHECK(std::set(inherited.begin(), inherited.end()) == used);
  CheckEvents(**journal);
  CheckNumbers(**journal);
  CheckSlots(**journal, used);
  FLOE_CHECK(memory.Used().empty());
}

}  // namespace
}  // namespace floe::cachemgr

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static floe::cachemgr::Memory memory;
  floe::testing::FuzzInput input(data, size);
  floe::cachemgr::Run(memory, input);
  memory.Clean();
  return 0;
}
