#include "cachemgr/channel/fanotify/fanotify_journal.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/file.h"
#include "cachemgr/channel/fanotify/fanotify_abi.h"

namespace floe::cachemgr {
namespace {

constexpr size_t kHeaderBytes = 4096;
constexpr size_t kEventBytes = 64;  // An event of 48 bytes fits, a second one does not.
constexpr uint32_t kVersion = 1;
constexpr std::array<char, 8> kMagic = {'F', 'L', 'O', 'E', 'F', 'A', 'N', 'J'};

struct Header {
  std::array<char, 8> magic;
  uint32_t version;
  uint32_t slots;
};

}  // namespace

struct FanotifyJournal::Slot {
  std::array<std::byte, kEventBytes> event;
  uint64_t device;
  uint64_t inode;  ///< 0: not known.
  std::array<uint64_t, 6> unused;
};

namespace {

constexpr size_t kSlotBytes = 128;
constexpr size_t kJournalBytes = kHeaderBytes + FanotifyJournal::kSlots * kSlotBytes;

Result<std::byte*> Map(int memfd) {
  void* memory = ::mmap(nullptr, kJournalBytes, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
  if (memory == MAP_FAILED) {
    return ErrnoError(errno, "map the fanotify journal");
  }
  return static_cast<std::byte*>(memory);
}

}  // namespace

FanotifyJournal::FanotifyJournal(UniqueFd memfd, std::byte* memory)
    : memfd_(std::move(memfd)), memory_(memory) {
  static_assert(sizeof(Slot) == kSlotBytes);
  for (uint32_t slot = kSlots; slot-- > 0;) {
    fanotify_event_metadata metadata{};
    std::memcpy(&metadata, At(slot).event.data(), sizeof(metadata));
    if (metadata.event_len != 0) {
      inherited_.push_back(slot);
    } else {
      free_.push_back(slot);  // The lowest on top.
    }
  }
}

FanotifyJournal::~FanotifyJournal() { ::munmap(memory_, kJournalBytes); }

FanotifyJournal::Slot& FanotifyJournal::At(uint32_t slot) const {
  return *reinterpret_cast<Slot*>(memory_ + kHeaderBytes + size_t{slot} * kSlotBytes);
}

Result<std::unique_ptr<FanotifyJournal>> FanotifyJournal::Create() {
  UniqueFd memfd(::memfd_create("floe-fanotify-journal", MFD_CLOEXEC));
  if (!memfd.valid() || ::ftruncate(memfd.get(), kJournalBytes) != 0) {
    return ErrnoError(errno, "make the fanotify journal");
  }
  FLOE_ASSIGN_OR_RETURN(std::byte * memory, Map(memfd.get()));
  const Header header{.magic = kMagic, .version = kVersion, .slots = kSlots};
  std::memcpy(memory, &header, sizeof(header));
  return std::unique_ptr<FanotifyJournal>(new FanotifyJournal(std::move(memfd), memory));
}

Result<std::unique_ptr<FanotifyJournal>> FanotifyJournal::Open(UniqueFd memfd) {
  struct stat status{};
  if (::fstat(memfd.get(), &status) != 0) {
    return ErrnoError(errno, "stat the fanotify journal");
  }
  if (std::cmp_not_equal(status.st_size, kJournalBytes)) {
    return DataLoss("fanotify journal of {} bytes, not {}", status.st_size, kJournalBytes);
  }
  FLOE_ASSIGN_OR_RETURN(std::byte * memory, Map(memfd.get()));
  std::unique_ptr<FanotifyJournal> journal(new FanotifyJournal(std::move(memfd), memory));
  Header header{};
  std::memcpy(&header, memory, sizeof(header));
  if (header.magic != kMagic || header.version != kVersion || header.slots != kSlots) {
    return DataLoss("not a fanotify journal of version {}", kVersion);
  }
  return journal;
}

std::optional<uint32_t> FanotifyJournal::Take() {
  const MutexLock lock(mutex_);
  if (free_.empty()) {
    return std::nullopt;
  }
  const uint32_t slot = free_.back();
  free_.pop_back();
  At(slot).inode = 0;  // Before there is an event that it could be taken to belong to.
  return slot;
}

std::span<std::byte> FanotifyJournal::Buffer(uint32_t slot) { return At(slot).event; }

void FanotifyJournal::SetFile(uint32_t slot, const FileId& file) {
  Slot& at = At(slot);
  at.device = file.device;
  std::atomic_ref(at.inode).store(file.inode, std::memory_order_release);
}

Result<FanotifyEvent> FanotifyJournal::Event(uint32_t slot) const {
  const Slot& at = At(slot);
  fanotify_event_metadata metadata{};
  std::memcpy(&metadata, at.event.data(), sizeof(metadata));
  if (metadata.vers != FANOTIFY_METADATA_VERSION || metadata.event_len > kEventBytes ||
      metadata.metadata_len > metadata.event_len || metadata.fd < 0) {
    return DataLoss("fanotify event vers={} event_len={} metadata_len={} fd={}", metadata.vers,
                    metadata.event_len, metadata.metadata_len, metadata.fd);
  }
  FanotifyEvent event{.fd = metadata.fd};
  if (at.inode != 0) {
    event.file = FileId{.device = at.device, .inode = at.inode};
  }
  fanotify_event_info_header info{};
  for (size_t offset = metadata.metadata_len; offset + sizeof(info) <= metadata.event_len;
       offset += info.len) {
    std::memcpy(&info, at.event.data() + offset, sizeof(info));
    if (info.len < sizeof(info) || offset + info.len > metadata.event_len) {
      break;
    }
    if (info.info_type == kFanEventInfoTypeRange && info.len == sizeof(FanEventInfoRange)) {
      FanEventInfoRange range{};
      std::memcpy(&range, at.event.data() + offset, sizeof(range));
      event.range = {.offset = range.offset, .length = range.count};
    }
  }
  return event;
}

void FanotifyJournal::Clear(uint32_t slot) {
  auto& length = *reinterpret_cast<uint32_t*>(At(slot).event.data());
  std::atomic_ref(length).store(0, std::memory_order_release);
  const MutexLock lock(mutex_);
  free_.push_back(slot);
}

int FanotifyJournal::LowestFreeNumber() const {
  int lowest = 0;
  for (const uint32_t slot : inherited_) {
    if (const auto event = Event(slot)) {
      lowest = std::max(lowest, event->fd + 1);
    }
  }
  return lowest;
}

Result<void> FanotifyJournal::OccupyNumbers() {
  if (inherited_.empty()) {
    return Ok();
  }
  // Above all of them, so that it is not in the way.
  UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  null.Reset(::fcntl(null.get(), F_DUPFD_CLOEXEC, LowestFreeNumber()));
  if (!null.valid()) {
    return ErrnoError(errno, "occupy the numbers of fanotify events");
  }
  for (const uint32_t slot : inherited_) {
    FLOE_ASSIGN_OR_RETURN(const FanotifyEvent event, Event(slot));
    UniqueFd number(::fcntl(null.get(), F_DUPFD_CLOEXEC, event.fd));
    if (!number.valid()) {
      return ErrnoError(errno, fmt::format("occupy the number {} of a fanotify event", event.fd));
    }
    if (number.get() == event.fd) {
      (void)number.Release();
    } else {
      const MutexLock lock(mutex_);
      foreign_.insert(event.fd);
    }
  }
  return Ok();
}

bool FanotifyJournal::TakeForeign(int number) {
  const MutexLock lock(mutex_);
  return foreign_.erase(number) > 0;
}

}  // namespace floe::cachemgr
