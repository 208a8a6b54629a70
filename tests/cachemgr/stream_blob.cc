#include "tests/cachemgr/stream_blob.h"

#include <zstd.h>

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "image/blob_map.h"
#include "image/layer_indexer.h"
#include "tests/image/tar_support.h"

namespace floe::cachemgr::testing {
namespace {

constexpr size_t kFirstFrameBytes = 64U << 10U;
constexpr uint64_t kMiB = 1U << 20U;

std::string Frame(std::string_view data) {
  std::string frame(ZSTD_compressBound(data.size()), '\0');
  const size_t size = ZSTD_compress(frame.data(), frame.size(), data.data(), data.size(), 1);
  FLOE_CHECK(ZSTD_isError(size) == 0);
  frame.resize(size);
  return frame;
}

std::string Lines(uint64_t bytes) {
  std::string text;
  text.reserve(bytes + 32);
  for (int line = 0; text.size() < bytes; ++line) {
    text += "line " + std::to_string(line % 977) + " of many\n";
  }
  text.resize(bytes);
  return text;
}

image::IndexedLayer Index(const std::string& blob) {
  auto indexer =
      image::LayerIndexer::Create({.digest = Digest::Of(blob),
                                   .size_bytes = blob.size(),
                                   .media_type = "application/vnd.oci.image.layer.v1.tar+zstd",
                                   .diff_id = {}});
  FLOE_CHECK(indexer.has_value());
  FLOE_CHECK((*indexer)->Feed(std::as_bytes(std::span(blob))).has_value());
  auto layer = (*indexer)->Finish();
  FLOE_CHECK(layer.has_value());
  return std::move(*layer);
}

TestBlob Make() {
  image::TarArchive tar;
  tar.File("f0", RandomBytes(4 * kMiB, 1));
  tar.File("f1", Lines(62 * kMiB));
  tar.File("f2", RandomBytes(kMiB, 2));
  tar.End();
  const std::string_view archive = tar.bytes();
  TestBlob made;
  made.blob = Frame(archive.substr(0, kFirstFrameBytes)) + Frame(archive.substr(kFirstFrameBytes));
  const image::IndexedLayer layer = Index(made.blob);
  made.data = layer.index.data();
  FLOE_CHECK(made.data.units.size() == 2);
  FLOE_CHECK(image::IsStreamed(made.data.units[1].codec, made.data.units[1].decoded_length));
  made.digest = Digest::Of(made.blob);
  made.map = image::EncodeBlobMap(layer.index, 0);
  made.key = image::DeviceKey(made.map);
  made.device = image::BuildDevice(made.data, tar.bytes(), {0, kFirstFrameBytes});
  for (size_t i = 1; i < made.data.inodes.size(); ++i) {
    made.file_offsets.push_back(
        made.data.segments[made.data.inodes[i].first_segment].device_offset);
  }
  return made;
}

}  // namespace

const TestBlob& StreamBlob() {
  static const TestBlob blob = Make();
  return blob;
}

}  // namespace floe::cachemgr::testing
