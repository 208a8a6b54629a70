// Changes every structure of a SOCI-indexed layer at random, many times. With the digests around it
// as they were, each change of something that is checked must be an error; with those digests made
// anew (whoever may write the index may write its digests) the result is an error, or an index that
// is valid and whose data match its digests. FLOE_TEST_SEED takes another seed than the usual one.
#include <algorithm>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <random>
#include <string>

#include <gtest/gtest.h>

#include "base/digest.h"
#include "image/blob_map.h"
#include "image/soci/soci_index.h"
#include "image/soci/ztoc_layer.h"
#include "tests/image/gzip_support.h"
#include "tests/image/layer_support.h"
#include "tests/image/soci/ztoc_support.h"
#include "tests/image/tar_support.h"
#include "tests/support/result_matchers.h"

namespace floe::image {
namespace {

using soci::fbs::CompressionInfoT;
using soci::fbs::FileMetadataT;
using soci::fbs::ZtocT;

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  /// Less than `limit`; 0 for 0.
  size_t Below(size_t limit) { return limit == 0 ? 0 : engine_() % limit; }
  /// What a liar writes into a number.
  int64_t Number(int64_t before) {
    constexpr int64_t kOdd[] = {0, 1, -1, 512, INT64_MAX, INT64_MIN, 1LL << 32U, 1LL << 40U};
    switch (Below(4)) {
      case 0:
        return kOdd[Below(std::size(kOdd))];
      case 1:
        return before + 512 * (static_cast<int64_t>(Below(9)) - 4);
      case 2:
        return before ^ (1LL << Below(63));
      default:
        return static_cast<int64_t>(Below(100000));
    }
  }

 private:
  std::mt19937 engine_;
};

/// Flips bits, cuts off, swaps two runs or inserts bytes. May leave the bytes equal.
template <typename Bytes>
void Mutate(Bytes& bytes, Random& random) {
  const auto at = [&](size_t offset) { return bytes.begin() + static_cast<ptrdiff_t>(offset); };
  switch (random.Below(6)) {
    case 0:
      bytes.resize(random.Below(bytes.size()));
      return;
    case 1: {
      const size_t length = random.Below(64) + 1;
      bytes.insert(at(random.Below(bytes.size() + 1)), length,
                   static_cast<typename Bytes::value_type>(random.Below(256)));
      return;
    }
    case 2: {
      const size_t length = std::min(random.Below(64) + 1, bytes.size() / 2);
      const size_t first = random.Below(bytes.size() / 2 - length + 1);
      const size_t second =
          bytes.size() / 2 + random.Below(bytes.size() - bytes.size() / 2 - length + 1);
      std::swap_ranges(at(first), at(first + length), at(second));
      return;
    }
    default:
      for (size_t flips = random.Below(3) + 1; flips > 0 && !bytes.empty(); --flips) {
        auto& byte = bytes[random.Below(bytes.size())];
        byte = static_cast<typename Bytes::value_type>(byte ^ (1U << random.Below(8)));
      }
  }
}

/// All that a SOCI-indexed layer is made of, with the digests and sizes that others say of it.
struct Parts {
  std::string blob;
  std::string ztoc;
  std::string index;
  Digest layer;  ///< The image manifest's.
  uint64_t layer_bytes = 0;
  Digest index_digest;  ///< The annotation's, or the referrers list's.
};

std::string IndexText(const Digest& layer, const std::string& ztoc) {
  return fmt::format(
      R"({{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",)"
      R"("config":{{"mediaType":"{}","digest":"{}","size":2}},"layers":[{{"mediaType":)"
      R"("application/octet-stream","digest":"{}","size":{},"annotations":{{)"
      R"("com.amazon.soci.image-layer-digest":"{}","com.amazon.soci.span-size":"4096"}}}}]}})",
      kSociV2IndexType, Digest::Of("{}").ToString(), Digest::Of(ztoc).ToString(), ztoc.size(),
      layer.ToString());
}

/// Makes the digests and sizes of what is above `ztoc` fit.
void Rebind(Parts& parts) {
  parts.index = IndexText(parts.layer, parts.ztoc);
  parts.index_digest = Digest::Of(parts.index);
}

/// The digests of the spans and the sizes, of the bytes that the blob has now.
void RebindBlob(Parts& parts) {
  ZtocT tables = UnpackZtoc(parts.ztoc);
  tables.compressed_archive_size = static_cast<int64_t>(parts.blob.size());
  parts.layer_bytes = parts.blob.size();
  parts.ztoc = PackZtoc(tables);
  if (const auto ztoc = ParseZtoc(parts.ztoc); ztoc.has_value()) {
    for (size_t i = 0; i < ztoc->spans.size(); ++i) {
      const ByteRange range = ztoc->spans[i].range;
      tables.compression_info->span_digests[i] =
          Digest::Of(parts.blob.substr(range.offset, range.length)).ToString();
    }
  }
  parts.ztoc = PackZtoc(tables);
  Rebind(parts);
}

/// As prepare/soci_image.h reads a layer.
Result<IndexedLayer> ReadParts(const Parts& parts) {
  if (Digest::Of(parts.index) != parts.index_digest) {
    return DataLoss("index");
  }
  FLOE_ASSIGN_OR_RETURN(const SociIndex index, ParseSociIndex(parts.index));
  const auto layer = index.layers.find(parts.layer);
  if (layer == index.layers.end()) {
    return NotFound("no ztoc");
  }
  if (layer->second.ztoc.size_bytes != parts.ztoc.size() ||
      layer->second.ztoc.digest != Digest::Of(parts.ztoc)) {
    return DataLoss("ztoc");
  }
  FLOE_ASSIGN_OR_RETURN(const Ztoc ztoc, ParseZtoc(parts.ztoc));
  LayerSource source = SourceOf(parts.blob);
  source.digest = parts.layer;
  source.size_bytes = parts.layer_bytes;
  return IndexZtocLayer(ztoc, source, {.disable_xattrs = layer->second.disable_xattrs});
}

/// As a mount fills the device: a registry that has another size than the manifest says is refused.
Result<std::string> Fill(const Parts& parts, const IndexedLayer& layer) {
  if (parts.blob.size() != parts.layer_bytes) {
    return DataLoss("the blob's size");
  }
  return FillDevice(layer, parts.blob);
}

// --- what is changed ---

using Mutation = std::function<void(Parts&, Random&)>;

void MutateIndex(Parts& parts, Random& random) { Mutate(parts.index, random); }
void MutateZtoc(Parts& parts, Random& random) { Mutate(parts.ztoc, random); }
void MutateBlob(Parts& parts, Random& random) { Mutate(parts.blob, random); }

Mutation OnTables(const std::function<void(ZtocT&, Random&)>& change) {
  return [change](Parts& parts, Random& random) {
    ZtocT tables = UnpackZtoc(parts.ztoc);
    change(tables, random);
    parts.ztoc = PackZtoc(tables);
  };
}

void MutateEntry(FileMetadataT& entry, Random& random) {
  constexpr const char* kTypes[] = {"reg", "dir", "hardlink", "symlink", "char", "fifo", "x"};
  switch (random.Below(9)) {
    case 0:
      entry.uncompressed_offset = random.Number(entry.uncompressed_offset);
      return;
    case 1:
      entry.uncompressed_size = random.Number(entry.uncompressed_size);
      return;
    case 2:
      entry.type = kTypes[random.Below(std::size(kTypes))];
      return;
    case 3:
      return Mutate(entry.name, random);
    case 4:
      return Mutate(entry.linkname, random);
    case 5:
      return Mutate(entry.mod_time, random);
    case 6:
      entry.mode = random.Number(entry.mode);
      return;
    case 7:
      entry.devmajor = random.Number(entry.devmajor);
      return;
    default:
      entry.xattrs.push_back(std::make_unique<soci::fbs::XattrT>());
      entry.xattrs.back()->key = random.Below(2) == 0 ? "SCHILY.xattr.user.x" : "GNU.sparse.map";
      entry.xattrs.back()->value = std::string(random.Below(70000), 'v');
  }
}

void MutateEntries(ZtocT& ztoc, Random& random) {
  auto& entries = ztoc.toc->metadata;
  const size_t at = random.Below(entries.size());
  switch (random.Below(6)) {
    case 0:
      std::swap(entries[at], entries[random.Below(entries.size())]);
      return;
    case 1:
      entries.erase(entries.begin() + static_cast<ptrdiff_t>(at));
      return;
    case 2:
      entries.push_back(std::make_unique<FileMetadataT>(*entries[at]));
      return;
    default:
      MutateEntry(*entries[at], random);
  }
}

/// A field of one record, all of one record, or the bytes as a whole.
void MutateCheckpoints(ZtocT& ztoc, Random& random) {
  auto& zinfo = ztoc.compression_info->checkpoints;
  const size_t records = (zinfo.size() - kZinfoHeadBytes) / kZinfoRecordBytes;
  const auto record = [&](size_t i) {
    return zinfo.begin() + static_cast<ptrdiff_t>(kZinfoHeadBytes + i * kZinfoRecordBytes);
  };
  const size_t one = random.Below(records);
  switch (random.Below(6)) {
    case 0:
      return Mutate(zinfo, random);
    case 1:
      std::swap_ranges(record(one), record(one + 1), record(random.Below(records)));
      return;
    case 2:
      zinfo.erase(record(one), record(one + 1));
      return;
    case 3:
      zinfo[random.Below(kZinfoHeadBytes)] ^= static_cast<uint8_t>(1U << random.Below(8));
      return;
    case 4:  // The window.
      record(one)[static_cast<ptrdiff_t>(17 + random.Below(32768))] ^= 1;
      return;
    default: {  // in, out or bits.
      auto& byte = record(one)[static_cast<ptrdiff_t>(random.Below(17))];
      byte = static_cast<uint8_t>(byte ^ (1U << random.Below(8)));
    }
  }
}

void MutateSpanDigests(ZtocT& ztoc, Random& random) {
  CompressionInfoT& info = *ztoc.compression_info;
  const size_t at = random.Below(info.span_digests.size());
  switch (random.Below(5)) {
    case 0:
      std::swap(info.span_digests[at], info.span_digests[random.Below(info.span_digests.size())]);
      return;
    case 1:
      info.span_digests.pop_back();
      return;
    case 2:
      info.span_digests.push_back(info.span_digests[at]);
      return;
    case 3:
      info.max_span_id = static_cast<int32_t>(random.Number(info.max_span_id));
      return;
    default:
      Mutate(info.span_digests[at], random);
  }
}

// --- the test ---

struct Case {
  std::string name;
  Mutation mutate;
  std::function<void(Parts&)> rebind;
  int rounds;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

class SociMutationTest : public ::testing::TestWithParam<Case> {
 protected:
  SociMutationTest() {
    const char* given = std::getenv("FLOE_TEST_SEED");
    seed_ = given == nullptr ? 20261128 : static_cast<uint32_t>(std::strtoul(given, nullptr, 10));
    TarArchive archive;
    archive.Directory("d/")
        .Symlink("d/link", "0")
        .Add("attr", "x", {.pax = {{"SCHILY.xattr.user.a", "b"}}});
    for (uint32_t i = 0; i < 12; ++i) {
      std::string text;
      for (uint32_t k = 0; text.size() < 4000; ++k) {
        text += std::to_string(((k + i * 1000) * 2654435761U) >> 12U);
      }
      archive.File("d/" + std::to_string(i), text);
    }
    archive.HardLink("hard", "d/3")
        .File("d/.wh.gone")
        .Add("null", "", {.type = '3', .dev_major = 1});
    archive.End();
    parts_.blob = GzipMember(archive.bytes(), {.mem_level = 1});
    parts_.layer = Digest::Of(parts_.blob);
    parts_.layer_bytes = parts_.blob.size();
    parts_.ztoc = PackZtoc(MakeZtoc(archive.bytes(), parts_.blob, {.span_bytes = 8000}));
    Rebind(parts_);
  }

  /// Whether the change is of something that a digest covers: of the blob, what units draw from.
  [[nodiscard]] bool IsCovered(const Parts& changed, const IndexedLayer& honest) const {
    const auto differs = [&](const Unit& unit) {
      return changed.blob.compare(unit.range.offset, unit.range.length, parts_.blob,
                                  unit.range.offset, unit.range.length) != 0;
    };
    return changed.index != parts_.index || changed.ztoc != parts_.ztoc ||
           changed.blob.size() != parts_.blob.size() ||
           std::ranges::any_of(honest.index.data().units, differs);
  }

  uint32_t seed_ = 0;
  Parts parts_;
};

TEST_P(SociMutationTest, DigestsAsTheyWere) {
  FLOE_ASSERT_OK_AND_ASSIGN(const IndexedLayer honest, ReadParts(parts_));
  FLOE_ASSERT_OK(Fill(parts_, honest));
  ASSERT_GT(honest.index.data().units.size(), 4U);
  Random random(seed_);
  int hits = 0;
  for (int round = 0; round < GetParam().rounds; ++round) {
    Parts changed = parts_;
    GetParam().mutate(changed, random);
    const auto layer = ReadParts(changed);
    const bool failed = !layer.has_value() || !Fill(changed, *layer).has_value();
    if (IsCovered(changed, honest)) {
      ++hits;
      ASSERT_TRUE(failed) << "seed " << seed_ << ", round " << round;
    }
  }
  std::cout << GetParam().name << ": seed " << seed_ << ", " << GetParam().rounds << " changes, "
            << hits << " of them of checked bytes, all refused\n";
  EXPECT_GT(hits, GetParam().rounds * 4 / 5);
}

TEST_P(SociMutationTest, DigestsMadeAnew) {
  Random random(seed_ + 1);
  int refused = 0;
  int failed_fills = 0;
  int accepted = 0;
  for (int round = 0; round < GetParam().rounds; ++round) {
    Parts changed = parts_;
    GetParam().mutate(changed, random);
    GetParam().rebind(changed);
    const auto layer = ReadParts(changed);
    if (!layer.has_value()) {
      ++refused;
      continue;
    }
    EXPECT_FALSE(EncodeBlobMap(layer->index, 0).empty());
    // FillDevice decodes every unit and checks every group.
    (Fill(changed, *layer).has_value() ? accepted : failed_fills) += 1;
  }
  std::cout << GetParam().name << ": seed " << seed_ << ", " << GetParam().rounds << " changes, "
            << refused << " refused, " << failed_fills << " fail when read, " << accepted
            << " valid and verified\n";
  EXPECT_EQ(refused + failed_fills + accepted, GetParam().rounds);
}

void RebindIndex(Parts& parts) { parts.index_digest = Digest::Of(parts.index); }

INSTANTIATE_TEST_SUITE_P(
    EveryStructure, SociMutationTest,
    ::testing::Values(Case{"IndexManifest", MutateIndex, RebindIndex, 1000},
                      Case{"FlatBuffer", MutateZtoc, Rebind, 500},
                      Case{"Entries", OnTables(MutateEntries), Rebind, 500},
                      Case{"Checkpoints", OnTables(MutateCheckpoints), Rebind, 500},
                      Case{"SpanDigests", OnTables(MutateSpanDigests), Rebind, 300},
                      Case{"CompressedData", MutateBlob, RebindBlob, 300}),
    [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace floe::image
