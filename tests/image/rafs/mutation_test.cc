// Every structure of a Nydus image, changed at random. With the digests as they were the image must
// be refused. With all outer digests computed anew the parsers meet the change: they refuse it, or
// what comes out is a valid index whose chunks still have to match their digests.
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/file.h"
#include "image/rafs/bootstrap_archive.h"
#include "prepare/nydus_image.h"
#include "tests/image/rafs/rafs_support.h"
#include "tests/image/rafs/rafs_writer.h"
#include "tests/image/tar_support.h"
#include "tests/support/memory_registry_client.h"
#include "tests/support/result_matchers.h"

namespace floe::image::rafs {
namespace {

const fetcher::Repository kRepository{"registry.test", "nydus"};

/// An image as its parts, before anything is named by a digest.
struct Parts {
  std::string bootstrap;
  std::vector<std::string> layer_ids;  ///< Digests of the data layers, hex.
  std::vector<std::string> chunk_info_files;
  std::vector<std::string> blobs;  ///< By Parts::blob_digests.
  std::vector<Digest> blob_digests;
  std::vector<uint64_t> layer_bytes;  ///< Sizes of the data layers.
};

std::string ArchiveOf(const Parts& parts) {
  TarArchive tar;
  tar.Directory("image/").File("image/image.boot", parts.bootstrap);
  for (size_t i = 0; i < parts.chunk_info_files.size(); ++i) {
    tar.File("image/" + parts.layer_ids[i] + ".blob.meta", parts.chunk_info_files[i]);
  }
  return tar.End().bytes();
}

/// The image that honest digests make of an archive.
prepare::ResolvedImage ResolvedOf(const Parts& parts, const std::string& archive) {
  prepare::ResolvedImage image;
  image.reference = {kRepository, "1", std::nullopt};
  for (size_t i = 0; i < parts.layer_ids.size(); ++i) {
    Descriptor& layer = image.manifest.layers.emplace_back();
    layer.digest = *Digest::Parse("sha256:" + parts.layer_ids[i]);
    layer.size_bytes = parts.layer_bytes[i];
    layer.annotations["containerd.io/snapshot/nydus-blob"] = "true";
    image.config.diff_ids.push_back(layer.digest);
  }
  Descriptor& bootstrap = image.manifest.layers.emplace_back();
  bootstrap.digest = Digest::Of(archive);
  bootstrap.size_bytes = archive.size();
  bootstrap.annotations["containerd.io/snapshot/nydus-bootstrap"] = "true";
  image.config.diff_ids.push_back(Digest::Of(archive));
  return image;
}

uint32_t Seed() {
  const char* text = std::getenv("FLOE_TEST_SEED");
  return text == nullptr ? 20261128U : static_cast<uint32_t>(std::strtoul(text, nullptr, 10));
}

/// Changes some bytes of `object` in one of `ranges`.
class Mutator {
 public:
  explicit Mutator(uint32_t seed) : random_(seed) {}

  void Change(std::string& object, const std::vector<ByteRange>& ranges) {
    const ByteRange range = ranges[Below(ranges.size())];
    const size_t at = range.offset + Below(range.length);
    switch (Below(8)) {
      case 0:
        object.resize(at);
        break;
      case 1:
        Swap(object, range);
        break;
      case 2:
      case 3:
        Enlarge(object, at);
        break;
      default:
        object[at] = static_cast<char>(object[at] ^ (1U << Below(8)));
    }
  }

 private:
  size_t Below(size_t limit) {
    return std::uniform_int_distribution<size_t>(0, limit - 1)(random_);
  }
  void Swap(std::string& object, ByteRange range) {
    const size_t half = range.length / 2;
    const size_t length = std::min<size_t>(half, size_t{1} << Below(7));
    for (size_t i = 0; i < length; ++i) {
      std::swap(object[range.offset + i], object[range.end() - length + i]);
    }
  }
  // Numbers become much larger, or all ones, or one more.
  void Enlarge(std::string& object, size_t at) {
    const size_t length = std::min<size_t>(object.size() - at, size_t{1} << Below(4));
    const size_t how = Below(3);
    for (size_t i = 0; i < length; ++i) {
      object[at + i] = static_cast<char>(how == 0   ? 0xFF
                                         : how == 1 ? Below(256)
                                                    : static_cast<uint8_t>(object[at + i]) + 1);
    }
  }

  std::mt19937 random_;
};

struct Counts {
  int mutations = 0, unchanged = 0, refused_by_digest = 0, refused = 0, data_refused = 0, right = 0;
};

class RafsMutationTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::printf("seed %u (FLOE_TEST_SEED)\n", Seed());
    std::printf("%-28s %9s %9s %9s %9s %9s\n", "structure", "mutations", "(a)", "parsers", "data",
                "right");
  }

  /// Of what is read, the units of `blob` are decoded, or those of all.
  void Mutate(const std::string& name, const Parts& parts, int times, std::optional<uint32_t> blob,
              const std::function<void(Mutator&, Parts&)>& change) {
    Mutator mutator(Seed() + structures_++);
    Counts counts;
    for (; counts.mutations < times; ++counts.mutations) {
      Parts changed = parts;
      change(mutator, changed);
      OneImage(parts, changed, blob, counts);
      if (HasFatalFailure()) {
        return;
      }
    }
    std::printf("%-28s %9d %9d %9d %9d %9d\n", name.c_str(), counts.mutations,
                counts.refused_by_digest, counts.refused, counts.data_refused, counts.right);
    std::fflush(stdout);
  }

 private:
  void OneImage(const Parts& parts, const Parts& changed, std::optional<uint32_t> blob,
                Counts& counts) {
    for (size_t i = 0; i < changed.blobs.size(); ++i) {
      registry_.ReplaceBlob(kRepository, changed.blob_digests[i], changed.blobs[i]);
    }
    const std::string honest = ArchiveOf(parts);
    const std::string archive = ArchiveOf(changed);
    if (archive == honest && changed.blobs == parts.blobs) {
      ++counts.unchanged;
      return;
    }
    if (archive != honest) {
      const prepare::ResolvedImage image = ResolvedOf(parts, honest);
      registry_.ReplaceBlob(kRepository, Digest::Of(honest), archive);
      ASSERT_FALSE(Read(image).has_value()) << "a digest that does not match";
      ++counts.refused_by_digest;
    }
    registry_.ReplaceBlob(kRepository, Digest::Of(archive), archive);
    const auto layer = Read(ResolvedOf(changed, archive));
    registry_.RemoveBlob(kRepository, Digest::Of(archive));
    registry_.ForgetCalls();
    if (!layer) {
      EXPECT_EQ(layer.error().message.find('\n'), std::string::npos);
      EXPECT_NE(layer.error().code, ErrorCode::kInternal) << layer.error().message;
      ++counts.refused;
      return;
    }
    ++(DataIsRight(*layer, changed, blob) ? counts.right : counts.data_refused);
  }

  Result<prepare::ReadLayer> Read(const prepare::ResolvedImage& image) {
    return prepare::ReadNydusImage({.client = registry_,
                                    .image = image,
                                    .position = image.manifest.layers.size() - 1,
                                    .deadline = {}});
  }

  // Decodes units as the fill path does; every group that is not refused matches its digest.
  static bool DataIsRight(const prepare::ReadLayer& layer, const Parts& parts,
                          std::optional<uint32_t> only) {
    const LayerIndexData& data = layer.index->data();
    bool right = true;
    for (size_t number = 0; number < data.units.size(); ++number) {
      const uint32_t of = data.units[number].blob;
      const auto blob = std::ranges::find(parts.blob_digests, data.blobs[of].digest);
      if (only && *only != of) {
        continue;
      }
      right = blob != parts.blob_digests.end() &&
              UnitIsRight(*layer.index, number,
                          parts.blobs[static_cast<size_t>(blob - parts.blob_digests.begin())],
                          layer.windows[of]) &&
              right;
    }
    return right;
  }

  static bool UnitIsRight(const LayerIndex& index, size_t number, const std::string& blob,
                          const std::string& windows) {
    const auto decoded = DecodeUnit(index.data().units[number], blob, windows);
    if (!decoded) {
      return false;
    }
    bool right = true;
    for (const Group& group : index.data().groups) {
      right = right && (group.unit != number || GroupMatches(group, *decoded).has_value());
    }
    return right;
  }

  testing::MemoryRegistryClient registry_;
  uint32_t structures_ = 0;
};

std::string Words(size_t bytes, uint32_t seed) {
  std::mt19937 random(seed);
  std::string text;
  while (text.size() < bytes) {
    text += std::to_string(random() % 500) + " words ";
  }
  text.resize(bytes);
  return text;
}

WriterNode SmallTree() {
  WriterNode link;
  link.name = "link";
  link.mode = S_IFLNK | 0777;
  link.content = "d/e/small";
  WriterNode attributes = File("attributes", "x", {1});
  attributes.xattrs = {{1, "one", "value"}, {4, "two", "another value"}, {6, "three", ""}};
  return Directory("", {std::move(attributes),
                        Directory("d", {Directory("e", {File("small", "small", {0})}),
                                        File("f", Words(30000, 1), {0, 1})}),
                        File("g", Words(5000, 2), {1}), std::move(link)});
}

Parts PartsOf(const WrittenImage& image) {
  Parts parts;
  parts.bootstrap = image.bootstrap;
  parts.chunk_info_files = image.chunk_info_files;
  parts.blobs = image.blobs;
  for (const std::string& blob : image.blobs) {
    parts.blob_digests.push_back(Digest::Of(blob));
    parts.layer_ids.push_back(Digest::Of(blob).hex());
    parts.layer_bytes.push_back(blob.size());
  }
  return parts;
}

constexpr int kTimes = 200;
constexpr std::nullopt_t kAllBlobs = std::nullopt;

TEST_F(RafsMutationTest, Bootstrap) {
  const WrittenImage image =
      WriteImage(SmallTree(), {.blob_count = 2, .chunk_info_v2 = true, .prefetch = {128, 0}});
  const Parts parts = PartsOf(image);
  for (const auto& [name, ranges] : image.parts) {
    Mutate(name, parts, kTimes, kAllBlobs,
           [&](Mutator& mutator, Parts& changed) { mutator.Change(changed.bootstrap, ranges); });
  }
  Mutate("prefetch table", parts, kTimes, kAllBlobs, [&](Mutator& mutator, Parts& changed) {
    mutator.Change(changed.bootstrap, {{4096 + 2 * 256, 8}});
  });
}

TEST_F(RafsMutationTest, CompactInodes) {
  const WrittenImage image = WriteImage(SmallTree(), {.compact = true, .blob_count = 2});
  Mutate("inodes, compact", PartsOf(image), kTimes, kAllBlobs,
         [&](Mutator& mutator, Parts& changed) {
           mutator.Change(changed.bootstrap, image.parts.at("inodes"));
         });
}

TEST_F(RafsMutationTest, ChunkInformation) {
  for (const int form : {1, 2, 3}) {
    const WrittenImage image = WriteImage(SmallTree(), {.blob_count = 2,
                                                        .compressor = Compressor::kLz4Block,
                                                        .chunk_info_v2 = form >= 2,
                                                        .batch = form == 3});
    const Parts parts = PartsOf(image);
    const std::string suffix = form == 1 ? ", V1" : form == 2 ? ", V2" : ", batches";
    const uint64_t header = parts.chunk_info_files[0].size() - kChunkInfoHeaderBytes;
    Mutate("chunk info header" + suffix, parts, kTimes, kAllBlobs,
           [&](Mutator& mutator, Parts& changed) {
             mutator.Change(changed.chunk_info_files[0],
                            {{header, 60}, {header + kChunkInfoHeaderBytes - 4, 4}});
           });
    const uint64_t contexts = form == 3 ? 40 : 0;
    const uint64_t entries = image.chunk_info[0].length - contexts;
    Mutate("chunk info entries" + suffix, parts, kTimes, kAllBlobs,
           [&](Mutator& mutator, Parts& changed) {
             mutator.Change(changed.chunk_info_files[0], {{0, entries}});
           });
    if (contexts != 0) {
      Mutate("batch contexts", parts, kTimes, kAllBlobs, [&](Mutator& mutator, Parts& changed) {
        mutator.Change(changed.chunk_info_files[0], {{entries, contexts}});
      });
    }
    // As fetched from the blob, which no digest of a whole object covers.
    Parts without_files = parts;
    without_files.chunk_info_files.clear();
    Mutate("chunk info in the blob" + suffix, without_files, kTimes, kAllBlobs,
           [&](Mutator& mutator, Parts& changed) {
             mutator.Change(changed.blobs[0],
                            {image.chunk_info[0], {image.chunk_info[0].end(), 60}});
           });
  }
}

TEST_F(RafsMutationTest, ChunkData) {
  for (const Compressor compressor : {Compressor::kNone, Compressor::kZstd}) {
    const WrittenImage image = WriteImage(SmallTree(), {.blob_count = 2, .compressor = compressor});
    Mutate(compressor == Compressor::kNone ? "chunk data, plain" : "chunk data, zstd",
           PartsOf(image), kTimes, kAllBlobs, [&](Mutator& mutator, Parts& changed) {
             mutator.Change(changed.blobs[0], {{0, image.chunk_info[0].offset}});
           });
  }
}

TEST_F(RafsMutationTest, Archive) {
  const Parts parts = PartsOf(WriteImage(SmallTree(), {.blob_count = 2}));
  const std::string honest = ArchiveOf(parts);
  Mutator mutator(Seed());
  Counts counts;
  for (; counts.mutations < 2 * kTimes; ++counts.mutations) {
    std::string archive = honest;
    // The headers: of the directory, the bootstrap and the files behind it.
    const uint64_t second = 1024 + AlignUp(parts.bootstrap.size(), 512);
    mutator.Change(archive, {{0, 512}, {512, 512}, {second, 512}});
    const auto read = BootstrapArchive::Read(AsBytes(archive), 1U << 24U);
    const bool same = read && Digest::Of(read->bootstrap()) == Digest::Of(parts.bootstrap);
    ++(read ? same ? counts.right : counts.data_refused : counts.refused);
  }
  std::printf("%-28s %9d %9s %9d %9d %9d\n", "bootstrap archive", counts.mutations, "-",
              counts.refused, counts.data_refused, counts.right);
}

TEST_F(RafsMutationTest, Zran) {
  const std::filesystem::path layout = FixtureRoot() / "images/nydus-zran/blobs/sha256";
  if (!std::filesystem::exists(layout)) {
    GTEST_SKIP() << layout << " is absent";
  }
  FLOE_ASSERT_OK_AND_ASSIGN(
      const std::string layer,
      ReadFile(layout / "c34fd83678324d122c0c34bd1df0c05e70b4799a019e8f990009d38d28b7e5ae"));
  FLOE_ASSERT_OK_AND_ASSIGN(const BootstrapArchive archive,
                            BootstrapArchive::Read(AsBytes(layer), 1U << 30U));
  const Bytes boot = archive.bootstrap();
  FLOE_ASSERT_OK_AND_ASSIGN(const Bootstrap bootstrap, ReadBootstrap(boot));
  Parts parts;
  parts.bootstrap.assign(reinterpret_cast<const char*>(boot.data()), boot.size());
  for (const Blob& blob : bootstrap.blobs) {
    const Bytes file = archive.ChunkInfoFile(blob.meta_digest);
    parts.chunk_info_files.emplace_back(reinterpret_cast<const char*>(file.data()), file.size());
    parts.layer_ids.push_back(blob.meta_digest.hex());
    parts.layer_bytes.push_back(blob.meta_bytes);
    parts.blob_digests.push_back(blob.digest);
    FLOE_ASSERT_OK_AND_ASSIGN(parts.blobs.emplace_back(), ReadFile(layout / blob.digest.hex()));
  }
  // Blob 2 has two contexts, the second with a dictionary.
  const uint64_t contexts = 24 * 8;
  const std::pair<std::string, ByteRange> kStructures[] = {
      {"zran entries", {0, contexts}},
      {"zran contexts", {contexts, 2 * 40}},
      {"zran dictionaries", {contexts + 2 * 40, 32768}}};
  for (const auto& [name, range] : kStructures) {
    Mutate(name, parts, 40, 2, [&](Mutator& mutator, Parts& changed) {
      mutator.Change(changed.chunk_info_files[2], {range});
    });
  }
}

}  // namespace
}  // namespace floe::image::rafs
