#include "tests/cachemgr/gzip_blob.h"

#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "base/check.h"
#include "image/blob_map.h"
#include "image/layer_indexer.h"
#include "tests/image/gzip_support.h"
#include "tests/image/tar_support.h"

namespace floe::cachemgr::testing {
namespace {

image::TarArchive TextFiles() {
  image::TarArchive tar;
  for (int i = 0; i < 30; ++i) {
    std::string text;
    for (int line = 0; line < 400; ++line) {
      text += "line " + std::to_string(line * 7919 % 1000) + " of file " + std::to_string(i) + "\n";
    }
    tar.File("f" + std::to_string(i), text);
  }
  tar.End();
  return tar;
}

image::IndexedLayer Index(const std::string& gzip) {
  image::IndexerOptions small_spans;
  small_spans.span_bytes = 16384;
  auto indexer =
      image::LayerIndexer::Create({.digest = Digest::Of(gzip),
                                   .size_bytes = gzip.size(),
                                   .media_type = "application/vnd.oci.image.layer.v1.tar+gzip",
                                   .diff_id = {}},
                                  small_spans);
  FLOE_CHECK(indexer.has_value());
  FLOE_CHECK((*indexer)->Feed(std::as_bytes(std::span(gzip))).has_value());
  auto layer = (*indexer)->Finish();
  FLOE_CHECK(layer.has_value());
  return std::move(*layer);
}

void UseSpanDigests(const std::string& gzip, image::IndexedLayer& layer) {
  image::LayerIndexData data = layer.index.data();
  for (image::Group& group : data.groups) {
    const ByteRange range = data.units[group.unit].range;
    group.digest_kind = image::DigestKind::kCompressedSha256;
    group.digest = Digest::Of(std::string_view(gzip).substr(range.offset, range.length)).bytes();
  }
  auto index = image::LayerIndex::Create(std::move(data));
  FLOE_CHECK(index.has_value());
  layer.index = std::move(*index);
}

GzipBlob MakeBlob(bool span_digests) {
  const image::TarArchive tar = TextFiles();
  GzipBlob made;
  made.blob.blob = image::GzipMember(tar.bytes(), {.mem_level = 4});
  image::IndexedLayer layer = Index(made.blob.blob);
  FLOE_CHECK(!layer.windows.empty());
  if (span_digests) {
    UseSpanDigests(made.blob.blob, layer);
  }
  made.blob.data = layer.index.data();
  made.blob.digest = Digest::Of(made.blob.blob);
  made.blob.map = image::EncodeBlobMap(layer.index, 0);
  made.blob.key = image::DeviceKey(made.blob.map);
  made.windows = std::move(layer.windows);
  std::vector<uint64_t> starts;
  uint64_t start = 0;
  for (const image::Unit& unit : made.blob.data.units) {
    starts.push_back(start);
    start += unit.decoded_length;
  }
  made.blob.device = image::BuildDevice(made.blob.data, tar.bytes(), starts);
  return made;
}

}  // namespace

GzipBlob GzipBlob::Make() { return MakeBlob(/*span_digests=*/false); }
GzipBlob GzipBlob::MakeWithSpanDigests() { return MakeBlob(/*span_digests=*/true); }

}  // namespace floe::cachemgr::testing
