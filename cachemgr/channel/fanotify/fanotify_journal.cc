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

int FanotifyJournal::Number(uint32_t slot) const {
  fanotify_event_metadata metadata{};
  std::memcpy(&metadata, At(slot).event.data(), sizeof(metadata));
  return std::max(metadata.fd, -1);
}

std::set<int> FanotifyJournal::InheritedNumbers() const {
  std::set<int> numbers;
  for (const uint32_t slot : inherited_) {
    if (const int number = Number(slot); number >= 0) {
      numbers.insert(number);
    }
  }
  return numbers;
}

Result<UniqueFd> FanotifyJournal::CopyAside(int fd) const {
  const std::set<int> numbers = InheritedNumbers();
  for (int lowest = 0;;) {
    UniqueFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, lowest));
    if (!copy.valid()) {
      return ErrnoError(errno, "copy a descriptor aside");
    }
    if (!numbers.contains(copy.get())) {
      return copy;
    }
    lowest = copy.get() + 1;
  }
}

Result<void> FanotifyJournal::OccupyNumbers() {
  if (inherited_.empty()) {
    return Ok();
  }
  UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  FLOE_ASSIGN_OR_RETURN(null, CopyAside(null.get()));
  for (const int number : InheritedNumbers()) {
    if (::fcntl(number, F_GETFD) >= 0) {
      const MutexLock lock(mutex_);
      foreign_.insert(number);
    } else if (::dup3(null.get(), number, O_CLOEXEC) < 0 && errno != EBADF) {
      // EBADF: beyond what this process may open, so no event gets it either.
      return ErrnoError(errno, fmt::format("occupy the number {} of a fanotify event", number));
    }
  }
  return Ok();
}

bool FanotifyJournal::TakeForeign(int number) {
  const MutexLock lock(mutex_);
  return foreign_.erase(number) > 0;
}

}  // namespace floe::cachemgr
