// A presence file that is written, damaged and opened again, by this boot and others: undamaged it
// holds what was written; damaged, each word holds what was once written to it, or nothing.
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/file.h"
#include "cachemgr/cache/presence_file.h"
#include "tests/fuzz/input.h"

namespace floe::cachemgr {
namespace {

constexpr uint64_t kHeaderBytes = 4096;
constexpr uint64_t kSectionBytes = 4096;
constexpr uint64_t kMaxFileBytes = kHeaderBytes + 2 * kSectionBytes + 64;
constexpr uint32_t kMaxGroups = 2000;  // A section is a block.
constexpr uint64_t kSlotBytes = 8;
constexpr uint64_t kCheckOffset = 4;  // Of the check in a slot.

using Words = std::vector<uint32_t>;

class File {
 public:
  explicit File(testing::FuzzInput& input) : input_(input) {
    for (Blob& blob : blobs_) {
      blob.groups = static_cast<uint32_t>(input.Below(kMaxGroups + 1));
      blob.ever.resize((blob.groups + kGroupsPerWord - 1) / kGroupsPerWord, {0});
    }
    Open(0, 0);
  }

  void Run() {
    while (!input_.empty()) {
      switch (input_.Below(8)) {
        case 0:
        case 1:
          WriteCurrent();
          break;
        case 2:
          WriteSynced();
          break;
        case 3:
          Open(input_.Below(8) == 0 ? 1 - blob_ : blob_, input_.Below(2));
          break;
        case 4:
          Resize();
          break;
        case 5:
          Copy();
          break;
        default:
          Overwrite();
      }
    }
    Open(blob_, boot_);
    Open(blob_, 1 - boot_);
  }

 private:
  struct Blob {
    uint32_t groups = 0;
    std::vector<std::set<uint32_t>> ever = {};  ///< By word: all that was written there.
  };

  void Open(size_t blob, size_t boot) {
    auto opened =
        PresenceFile::Open(path_, {.key = std::string(64, 'a'),
                                   .group_count = blobs_[blob].groups,
                                   .data_inode = 7 + blob,
                                   .boot_id = boot == 0 ? "b5a8e5d5-first" : "0c6f2a11-second"});
    FLOE_CHECK(opened.has_value());
    const Words& words = (*opened)->words();
    FLOE_CHECK(words.size() == blobs_[blob].ever.size());
    for (size_t i = 0; i < words.size(); ++i) {
      CheckWord(blobs_[blob], i, words[i]);
    }
    if (!damaged_ && file_ != nullptr) {
      CheckUndamaged(**opened, blob, boot);
    }
    if (file_ == nullptr || blob != blob_) {
      synced_.assign(words.size(), 0);
      synced_known_ = true;
    }
    synced_known_ = synced_known_ && !damaged_;
    damaged_ = false;
    for (size_t i = 0; i < words.size(); ++i) {
      blobs_[blob].ever[i].insert(words[i]);  // Open writes what it found.
    }
    Record(0, words);
    file_ = std::move(*opened);
    blob_ = blob;
    boot_ = boot;
    current_ = words;
  }

  /// Bits that nobody wrote need a check that the input forged: in bytes that it wrote.
  void CheckWord(const Blob& blob, size_t index, uint32_t bits) const {
    if (IsForged(0, index) || IsForged(1, index)) {
      return;
    }
    for (const uint32_t a : blob.ever[index]) {
      for (const uint32_t b : blob.ever[index]) {
        if ((a | b) == bits) {
          return;
        }
      }
    }
    FLOE_CHECK(bits == 0);
  }
  [[nodiscard]] bool IsForged(uint64_t section, size_t index) const {
    const auto check =
        forged_.begin() + static_cast<ptrdiff_t>(SlotOffset(section, index) + kCheckOffset);
    return std::any_of(check, check + kCheckOffset, [](bool forged) { return forged; });
  }
  static uint64_t SlotOffset(uint64_t section, size_t index) {
    return kHeaderBytes + section * kSectionBytes + index * kSlotBytes;
  }

  void CheckUndamaged(const PresenceFile& opened, size_t blob, size_t boot) const {
    if (blob != blob_) {
      FLOE_CHECK(std::ranges::all_of(opened.words(), [](uint32_t word) { return word == 0; }));
    } else if (synced_known_) {
      Words expected = synced_;
      if (boot == boot_) {
        std::ranges::transform(expected, current_, expected.begin(), std::bit_or<>());
      }
      FLOE_CHECK(opened.words() == expected);
      FLOE_CHECK(opened.has_unsynced() == (expected != synced_));
    }
  }

  /// Whole words of bits that the blob has.
  Words TakeWords(size_t first, size_t count) {
    Words words(count, 0);
    for (size_t i = 0; i < count; ++i) {
      const uint32_t before = static_cast<uint32_t>(first + i) * kGroupsPerWord;
      const uint32_t bits = blobs_[blob_].groups - before;
      words[i] = input_.Take<uint32_t>();
      words[i] &= bits >= kGroupsPerWord ? UINT32_MAX : (1U << bits) - 1;
      blobs_[blob_].ever[first + i].insert(words[i]);
    }
    return words;
  }
  void Record(uint64_t section, std::span<const uint32_t> words, size_t first = 0) {
    const auto begin = forged_.begin() + static_cast<ptrdiff_t>(SlotOffset(section, first));
    std::fill_n(begin, words.size() * kSlotBytes, false);
  }
  void WriteCurrent() {
    const size_t first = input_.Below(current_.size());
    const size_t count = input_.Below(std::min<size_t>(current_.size() - first, 4) + 1);
    const Words words = TakeWords(first, count);
    FLOE_CHECK(file_->WriteCurrent(static_cast<uint32_t>(first), words).has_value());
    std::ranges::copy(words, current_.begin() + static_cast<ptrdiff_t>(first));
    Record(0, words, first);
  }
  void WriteSynced() {
    // Most of the words as they are known: inputs are short.
    Words words = current_;
    if (!words.empty()) {
      const size_t at = input_.Below(words.size());
      words[at] = TakeWords(at, 1)[0];
    }
    for (size_t i = 0; i < words.size(); ++i) {
      blobs_[blob_].ever[i].insert(words[i]);
    }
    FLOE_CHECK(file_->WriteSynced(words).has_value());
    Record(1, words);
    synced_ = words;
    synced_known_ = true;
  }

  // Damage. It hits headers, slots and what is behind them alike.
  uint64_t TakeOffset() {
    const size_t part = input_.Below(4);
    const size_t within = input_.Below(part == 0 ? 168 : 512);
    return part < 3 ? part * kSectionBytes + within : kMaxFileBytes - 1 - within;
  }
  void WriteBytes(uint64_t offset, std::string_view bytes) {
    damaged_ = true;
    FLOE_CHECK(PwriteAll(fd_.get(), std::as_bytes(std::span(bytes)), offset).has_value());
  }
  void Overwrite() {
    const uint64_t offset = TakeOffset();
    const std::string bytes =
        input_.Bytes(std::min<uint64_t>(input_.Below(20), kMaxFileBytes - offset));
    WriteBytes(offset, bytes);
    std::fill_n(forged_.begin() + static_cast<ptrdiff_t>(offset), bytes.size(), true);
  }
  void Copy() {
    const uint64_t from = TakeOffset();
    const uint64_t to = TakeOffset();
    const uint64_t wanted = input_.Below(64) * kSlotBytes;
    struct stat status{};
    FLOE_CHECK(::fstat(fd_.get(), &status) == 0);
    const auto size = static_cast<uint64_t>(status.st_size);
    const uint64_t length = std::min({wanted, size - std::min(from, size), kMaxFileBytes - to});
    std::string bytes(length, '\0');
    FLOE_CHECK(PreadAll(fd_.get(), std::as_writable_bytes(std::span(bytes)), from).has_value());
    WriteBytes(to, bytes);
    const std::vector<bool> marks(forged_.begin() + static_cast<ptrdiff_t>(from),
                                  forged_.begin() + static_cast<ptrdiff_t>(from + length));
    std::copy(marks.begin(), marks.end(), forged_.begin() + static_cast<ptrdiff_t>(to));
  }
  void Resize() {
    damaged_ = true;
    FLOE_CHECK(::ftruncate(fd_.get(), static_cast<off_t>(TakeOffset())) == 0);
  }

  testing::FuzzInput& input_;
  const UniqueFd fd_{::memfd_create("presence", MFD_CLOEXEC)};
  const std::string path_ = "/proc/self/fd/" + std::to_string(fd_.get());
  std::array<Blob, 2> blobs_;
  std::unique_ptr<PresenceFile> file_;
  size_t blob_ = 0;
  size_t boot_ = 0;
  Words current_;
  Words synced_;
  bool synced_known_ = true;
  bool damaged_ = false;
  std::vector<bool> forged_ = std::vector<bool>(kMaxFileBytes);  ///< By byte: from the input.
};

}  // namespace
}  // namespace floe::cachemgr

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  floe::testing::FuzzInput input(data, size);
  floe::cachemgr::File(input).Run();
  return 0;
}
