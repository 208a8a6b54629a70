#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace floe::testing {

/// What a directory of files may hold after a power cut.
struct DiskState {
  std::map<std::string, uint64_t> names = {};     ///< To inode numbers.
  std::map<uint64_t, std::string> contents = {};  ///< Of each inode.
};

/// Records, in order, what this process does to the files of one directory: names, sizes, bytes and
/// syncs. The system calls come here through the linker (--wrap, tests/cachemgr/CMakeLists.txt);
/// those that need not be recorded are not wrapped. One log at a time; one thread.
class DiskLog {
 public:
  struct Operation {
    enum class Kind { kName, kUnname, kTruncate, kExtend, kWrite, kSync, kSyncDirectory };
    Kind kind = Kind::kSync;
    std::string name = {};
    uint64_t inode = 0;
    uint64_t offset = 0;  ///< Of a write; the size of kTruncate and kExtend.
    std::string bytes = {};
  };
  /// Starts with `before`, which is durable. `inodes`: a directory of the same file system, in
  /// which every inode has another name, so that its number stays what it is.
  DiskLog(std::filesystem::path directory, std::filesystem::path inodes, DiskState before);
  ~DiskLog() { Stop(); }
  DiskLog(const DiskLog&) = delete;
  DiskLog& operator=(const DiskLog&) = delete;

  /// What follows is not recorded.
  void Stop();

  [[nodiscard]] const std::vector<Operation>& operations() const { return operations_; }

  /// The process was killed after the first `count` operations: all of them count.
  [[nodiscard]] DiskState Killed(size_t count) const;
  /// The power went after the first `count` operations. What was synced after it was done counts.
  /// Everything else counts or not, as `keep` says for each; of a write each sector by itself.
  [[nodiscard]] DiskState PowerCut(size_t count, const std::function<bool()>& keep,
                                   bool syncs_count = true) const;
  /// Makes the directory hold exactly `state`; while nothing is recorded.
  static void Restore(const DiskState& state, const std::filesystem::path& directory,
                      const std::filesystem::path& inodes);

  // For the wrappers.
  static DiskLog* Active();
  [[nodiscard]] bool IsInside(const std::filesystem::path& path) const;
  [[nodiscard]] bool IsDirectory(uint64_t inode) const { return inode == directory_inode_; }
  [[nodiscard]] bool Knows(uint64_t inode) const { return known_.contains(inode); }
  /// A file that was made just now.
  void Created(const std::filesystem::path& path, uint64_t inode);
  void Record(Operation operation) { operations_.push_back(std::move(operation)); }

 private:
  const std::filesystem::path directory_;
  const std::filesystem::path inodes_;
  const DiskState before_;
  uint64_t directory_inode_ = 0;
  std::map<uint64_t, bool> known_;
  std::vector<Operation> operations_;
};

}  // namespace floe::testing
