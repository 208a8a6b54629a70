#include "cachemgr/cache/presence_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <utility>

#include "base/byte_range.h"
#include "base/digest.h"
#include "base/file.h"

namespace floe::cachemgr {
namespace {

//   0          4096                       4096 + S              4096 + 2 S
//   | Header   | current: words with check | synced: the same    |
//
// S = 8 bytes for each word, rounded up to 4096.
constexpr uint64_t kHeaderBytes = 4096;
constexpr uint64_t kSectionAlignment = 4096;
constexpr uint64_t kSlotBytes = sizeof(uint64_t);
constexpr uint64_t kCurrent = 0;
constexpr uint64_t kSynced = 1;
constexpr uint32_t kVersion = 2;
constexpr std::array<char, 8> kMagic = {'F', 'L', 'O', 'E', 'P', 'R', 'E', 'S'};
constexpr size_t kKeyBytes = 64;
constexpr size_t kBootIdBytes = 40;

struct Header {
  std::array<char, 8> magic = kMagic;
  uint32_t version = kVersion;
  uint32_t group_count = 0;
  uint64_t data_inode = 0;
  std::array<char, kKeyBytes> key{};
  std::array<char, kBootIdBytes> boot_id{};  // Of the current section; padded with NUL.
  Sha256 sha256{};                           // Of all that stands before it.
};
static_assert(sizeof(Header) == 160);

Sha256 HeaderDigest(const Header& header) {
  const auto bytes = std::as_bytes(std::span(&header, 1));
  return Digest::Of(bytes.first(offsetof(Header, sha256))).bytes();
}

Header MakeHeader(const PresenceFile::Identity& identity) {
  Header header;
  header.group_count = identity.group_count;
  header.data_inode = identity.data_inode;
  std::ranges::copy_n(identity.key.begin(),
                      static_cast<ptrdiff_t>(std::min(identity.key.size(), kKeyBytes)),
                      header.key.begin());
  std::ranges::copy_n(identity.boot_id.begin(),
                      static_cast<ptrdiff_t>(std::min(identity.boot_id.size(), kBootIdBytes)),
                      header.boot_id.begin());
  header.sha256 = HeaderDigest(header);
  return header;
}

// splitmix64's finalizer: every bit of the input reaches every bit of the output.
uint64_t Mix(uint64_t value) {
  value = (value ^ (value >> 30U)) * 0xbf58476d1ce4e5b9ULL;
  value = (value ^ (value >> 27U)) * 0x94d049bb133111ebULL;
  return value ^ (value >> 31U);
}

// The low half holds the bits, the high half says that they were written here, for this blob.
uint64_t Seal(uint64_t seed, uint32_t index, uint32_t bits) {
  const uint64_t check = Mix(Mix(seed + index + 1) ^ bits) >> 32U;
  return (check << 32U) | bits;
}

}  // namespace

Result<std::string> CurrentBootId() {
  FLOE_ASSIGN_OR_RETURN(std::string id, ReadFile("/proc/sys/kernel/random/boot_id", 256));
  while (!id.empty() && id.back() == '\n') {
    id.pop_back();
  }
  return id;
}

uint64_t PresenceFile::SectionOffset(uint64_t section) const {
  return kHeaderBytes + section * AlignUp(word_count_ * kSlotBytes, kSectionAlignment);
}

Result<std::unique_ptr<PresenceFile>> PresenceFile::Open(const std::filesystem::path& path,
                                                         const Identity& identity) {
  FLOE_ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path, O_RDWR | O_CREAT));
  const Header wanted = MakeHeader(identity);
  // Words of a former data file fail their checks even under a header of this one: after a power
  // cut the header may be there and the words' erasure not.
  Identity of_any_boot = identity;
  of_any_boot.boot_id.clear();
  uint64_t seed = 0;
  std::memcpy(&seed, HeaderDigest(MakeHeader(of_any_boot)).data(), sizeof(seed));
  const uint32_t word_count = (identity.group_count + kGroupsPerWord - 1) / kGroupsPerWord;
  std::unique_ptr<PresenceFile> file(new PresenceFile(std::move(fd), seed, word_count));
  const uint64_t file_bytes = file->SectionOffset(kSynced + 1);

  struct stat status{};
  if (::fstat(file->fd_.get(), &status) != 0) {
    return ErrnoError(errno, fmt::format("stat {}", path.native()));
  }
  Header found;
  Header same_boot = wanted;
  bool usable = std::cmp_equal(status.st_size, file_bytes) &&
                PreadAll(file->fd_.get(), std::as_writable_bytes(std::span(&found, 1)), 0) &&
                found.sha256 == HeaderDigest(found);
  if (usable) {
    same_boot.boot_id = found.boot_id;
    same_boot.sha256 = HeaderDigest(same_boot);
    usable = std::memcmp(&same_boot, &found, sizeof(found)) == 0;
  }
  file->words_.assign(word_count, 0);
  if (usable) {
    file->words_ = file->ReadWords(kSynced);
    if (found.boot_id == wanted.boot_id) {
      std::vector<uint32_t> current = file->ReadWords(kCurrent);
      std::ranges::transform(file->words_, current, current.begin(), std::bit_or<>());
      file->has_unsynced_ = current != file->words_;
      file->words_ = std::move(current);
    }
  } else {
    // posix_fallocate: a later write of a word must not find the disk full.
    if (::ftruncate(file->fd_.get(), 0) != 0) {
      return ErrnoError(errno, fmt::format("truncate {}", path.native()));
    }
    if (const int error = ::posix_fallocate(file->fd_.get(), 0, static_cast<off_t>(file_bytes));
        error != 0) {
      return ErrnoError(error, fmt::format("allocate {}", path.native()));
    }
  }
  // The bits before the boot id that makes them count.
  FLOE_RETURN_IF_ERROR(file->WriteWords(kCurrent, 0, file->words_));
  if (!usable) {
    FLOE_RETURN_IF_ERROR(file->WriteWords(kSynced, 0, file->words_));
  }
  FLOE_RETURN_IF_ERROR(PwriteAll(file->fd_.get(), std::as_bytes(std::span(&wanted, 1)), 0));
  return file;
}

std::vector<uint32_t> PresenceFile::ReadWords(uint64_t section) const {
  std::vector<uint32_t> words(word_count_, 0);
  std::vector<uint64_t> slots(word_count_, 0);
  if (!PreadAll(fd_.get(), std::as_writable_bytes(std::span(slots)), SectionOffset(section))) {
    return words;
  }
  for (uint32_t i = 0; i < word_count_; ++i) {
    const auto bits = static_cast<uint32_t>(slots[i]);
    words[i] = slots[i] == Seal(seed_, i, bits) ? bits : 0;
  }
  return words;
}

Result<void> PresenceFile::WriteWords(uint64_t section, uint32_t first_word,
                                      std::span<const uint32_t> words) const {
  std::vector<uint64_t> slots(words.size());
  for (size_t i = 0; i < words.size(); ++i) {
    slots[i] = Seal(seed_, first_word + static_cast<uint32_t>(i), words[i]);
  }
  return PwriteAll(fd_.get(), std::as_bytes(std::span(slots)),
                   SectionOffset(section) + first_word * kSlotBytes);
}

Result<void> PresenceFile::WriteCurrent(uint32_t first_word, std::span<const uint32_t> words) {
  return WriteWords(kCurrent, first_word, words);
}

Result<void> PresenceFile::WriteSynced(std::span<const uint32_t> words) {
  FLOE_RETURN_IF_ERROR(WriteWords(kSynced, 0, words));
  if (::fdatasync(fd_.get()) != 0) {
    return ErrnoError(errno, "sync the presence file");
  }
  return Ok();
}

}  // namespace floe::cachemgr
