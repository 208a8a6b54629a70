// Reads two directory trees with the same files in turn and compares their speed.
//
//   tree_read [--rounds N] [--random N] PLAIN LAZY
//
// Per round and tree: drop the page cache, then sequential, random 4 KiB, stat and readdir, once
// warm (on disk) and once hot (in the page cache). The order of the trees alternates; both get the
// same read-ahead (4096 KiB, put back afterwards). Prints one JSON object: medians in seconds and
// the ratio PLAIN/LAZY of each round's pair, median of all rounds: 1.0 is as fast as the plain
// files. Needs root.

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "base/file.h"

namespace {

namespace fs = std::filesystem;

constexpr int kReadAheadKb = 4096;
constexpr size_t kSequentialBytes = 1U << 20U;
constexpr size_t kRandomBytes = 4096;

struct File {
  std::string path;  // below the tree's root
  uint64_t size = 0;
};

struct Tree {
  std::string root;
  std::vector<File> files;
  std::vector<std::string> directories;
};

[[noreturn]] void Die(const std::string& message) {
  std::fprintf(stderr, "tree_read: %s\n", message.c_str());
  std::exit(1);
}

Tree Scan(const std::string& root) {
  Tree tree{root, {}, {root}};
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    std::string path = entry.path().lexically_relative(root).native();
    if (entry.is_symlink()) {
      continue;
    }
    if (entry.is_directory()) {
      tree.directories.push_back(entry.path().native());
    } else if (entry.is_regular_file() && entry.file_size() > 0) {
      tree.files.push_back({path, entry.file_size()});
    }
  }
  std::sort(tree.files.begin(), tree.files.end(),
            [](const File& a, const File& b) { return a.path < b.path; });
  std::sort(tree.directories.begin(), tree.directories.end());
  return tree;
}

void ReadSequentially(const Tree& tree) {
  std::vector<char> buffer(kSequentialBytes);
  for (const File& file : tree.files) {
    floe::UniqueFd fd(::open((tree.root + "/" + file.path).c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd.valid()) {
      Die("open " + file.path);
    }
    uint64_t total = 0;
    ssize_t count = 0;
    while ((count = ::read(fd.get(), buffer.data(), buffer.size())) > 0) {
      total += static_cast<uint64_t>(count);
    }
    if (total != file.size) {
      Die(fmt::format("{}: read {} of {} bytes", file.path, total, file.size));
    }
  }
}

// The same offsets in the same order for both trees: the seed is fixed.
void ReadRandomly(const Tree& tree, size_t reads) {
  std::mt19937_64 random(
      7);  // NOLINT(bugprone-random-generator-seed): both trees must see the same.
  std::vector<File> large;
  std::copy_if(tree.files.begin(), tree.files.end(), std::back_inserter(large),
               [](const File& file) { return file.size >= 64 * kRandomBytes; });
  std::vector<floe::UniqueFd> fds;
  for (const File& file : large) {
    fds.emplace_back(::open((tree.root + "/" + file.path).c_str(), O_RDONLY | O_CLOEXEC));
    ::posix_fadvise(fds.back().get(), 0, 0, POSIX_FADV_RANDOM);
  }
  std::vector<char> buffer(kRandomBytes);
  for (size_t i = 0; i < reads && !large.empty(); ++i) {
    size_t which = random() % large.size();
    uint64_t offset = random() % (large[which].size / kRandomBytes) * kRandomBytes;
    if (::pread(fds[which].get(), buffer.data(), buffer.size(), static_cast<off_t>(offset)) < 0) {
      Die("pread " + large[which].path);
    }
  }
}

void StatAll(const Tree& tree) {
  struct stat status{};
  for (const File& file : tree.files) {
    if (::lstat((tree.root + "/" + file.path).c_str(), &status) != 0) {
      Die("lstat " + file.path);
    }
  }
}

void ListAll(const Tree& tree) {
  for (const std::string& directory : tree.directories) {
    DIR* stream = ::opendir(directory.c_str());
    if (stream == nullptr) {
      Die("opendir " + directory);
    }
    while (::readdir(stream) != nullptr) {
    }
    ::closedir(stream);
  }
}

void DropCaches() {
  ::sync();
  std::ofstream("/proc/sys/vm/drop_caches") << "3" << std::flush;
}

double Seconds(const std::function<void()>& work) {
  auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// The bdi of a file system with a block device. EROFS mounts have one by another name (erofs-N),
// whose read-ahead the cache manager has set to the same value already.
std::string ReadAheadFile(const std::string& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) {
    Die("stat " + path);
  }
  return fmt::format("/sys/class/bdi/{}:{}/read_ahead_kb", major(status.st_dev),
                     minor(status.st_dev));
}

// Sets the read-ahead of a tree's file system for a scope.
class ReadAhead {
 public:
  explicit ReadAhead(const std::string& path) : file_(ReadAheadFile(path)) {
    std::ifstream(file_) >> before_;
    if (!before_.empty()) {
      std::ofstream(file_) << kReadAheadKb << std::flush;
    }
  }
  ~ReadAhead() {
    if (!before_.empty()) {
      std::ofstream(file_) << before_ << std::flush;
    }
  }
  ReadAhead(const ReadAhead&) = delete;
  ReadAhead& operator=(const ReadAhead&) = delete;

 private:
  std::string file_;
  std::string before_;
};

using Times = std::map<std::string, std::vector<double>>;

void Measure(const Tree& tree, size_t reads, Times& times) {
  const std::vector<std::pair<std::string, std::function<void()>>> kinds = {
      {"sequential", [&] { ReadSequentially(tree); }},
      {"random_4k", [&] { ReadRandomly(tree, reads); }},
      {"stat", [&] { StatAll(tree); }},
      {"readdir", [&] { ListAll(tree); }}};
  for (const auto& [name, work] : kinds) {
    DropCaches();
    times["warm_" + name].push_back(Seconds(work));
    work();
    times["hot_" + name].push_back(Seconds(work));
  }
}

void Print(const Times& plain, const Times& lazy) {
  fmt::print("{{\n");
  const char* separator = "";
  for (const auto& [name, plain_times] : plain) {
    const std::vector<double>& lazy_times = lazy.at(name);
    std::vector<double> ratios;
    for (size_t i = 0; i < plain_times.size(); ++i) {
      ratios.push_back(plain_times[i] / lazy_times[i]);
    }
    fmt::print("{}  \"{}\": {{\"plain_s\": {:.4f}, \"lazy_s\": {:.4f}, \"ratio\": {:.3f}}}",
               separator, name, Median(plain_times), Median(lazy_times), Median(ratios));
    separator = ",\n";
  }
  fmt::print("\n}}\n");
}

}  // namespace

int main(int argc, char** argv) {
  size_t rounds = 5;
  size_t reads = 4000;
  std::vector<std::string> trees;
  for (int i = 1; i < argc; ++i) {
    std::string argument = argv[i];
    if ((argument == "--rounds" || argument == "--random") && i + 1 < argc) {
      (argument == "--rounds" ? rounds : reads) = std::stoul(argv[++i]);
    } else {
      trees.push_back(argument);
    }
  }
  if (trees.size() != 2 || rounds == 0) {
    Die("usage: tree_read [--rounds N] [--random N] PLAIN LAZY");
  }
  Tree plain = Scan(trees[0]);
  Tree lazy = Scan(trees[1]);
  if (plain.files.size() != lazy.files.size()) {
    Die(fmt::format("the trees differ: {} and {} files", plain.files.size(), lazy.files.size()));
  }
  ReadAhead plain_read_ahead(plain.root);
  ReadAhead lazy_read_ahead(lazy.root);
  Times plain_times;
  Times lazy_times;
  for (size_t round = 0; round < rounds; ++round) {
    if (round % 2 == 0) {
      Measure(plain, reads, plain_times);
      Measure(lazy, reads, lazy_times);
    } else {
      Measure(lazy, reads, lazy_times);
      Measure(plain, reads, plain_times);
    }
  }
  Print(plain_times, lazy_times);
  return 0;
}
