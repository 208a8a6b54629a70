// A TOC and the layer made of it: refused with one line, or a valid index inside the blob. And what
// stands around it: footers, annotations, compressed TOCs.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/check.h"
#include "image/stargz/annotations.h"
#include "image/stargz/footer.h"
#include "image/stargz/toc_container.h"
#include "image/stargz/toc_layer.h"
#include "tests/fuzz/input.h"

namespace floe::image {
namespace {

template <typename T>
void CheckOneLine(const Result<T>& result) {
  FLOE_CHECK(result.has_value() || result.error().message.find('\n') == std::string::npos);
}

const std::string kDigest = "sha256:" + std::string(64, 'a');

std::array<std::string, 2> Seeds() {
  return {
      R"({"version":1,"entries":[{"name":"d/","type":"dir","mode":493,"modtime":)"
      R"("2023-11-14T22:13:20Z","xattrs":{"user.a":"MQ=="}},{"name":"d/f","type":"reg","size":9,)"
      R"("offset":100,"chunkSize":5,"chunkDigest":")" +
          kDigest +
          R"("},{"type":"chunk","offset":100,"innerOffset":512,"chunkOffset":5,"chunkDigest":")" +
          kDigest + R"("},{"name":".prefetch.landmark","type":"reg","size":1,"offset":300,)" +
          R"("digest":")" + kDigest + R"("},{"name":"h","type":"hardlink","linkName":"d/f"},)" +
          R"({"name":"d/.wh..wh..opq","type":"reg"},{"name":".wh.x","type":"reg"}]})",
      R"({"version":1,"entries":[{"name":"f","type":"reg","size":9,"offset":100,"endOffset":200,)"
      R"("chunkSize":4,"chunkDigest":")" +
          kDigest + R"(","modtime":null},{"type":"chunk","name":"f","offset":150,)" +
          R"("chunkSize":5,"chunkOffset":4,"chunkType":"zeros"},{"name":"c","type":"char",)" +
          R"("devMajor":1,"devMinor":3},{"name":"s","type":"symlink","linkName":"f"}]})"};
}

void TryToc(testing::FuzzInput& input) {
  TocLayerSource source{.digest = Digest::Of("blob"),
                        .size_bytes = 1000,
                        .media_type = "",
                        .diff_id = {},
                        .payload_end = 1 + input.Below(1000)};
  source.codec = input.Below(2) == 0 ? Codec::kGzip : Codec::kZstd;
  source.dialect = input.Below(2) == 0 ? TocDialect::kStargz : TocDialect::kContainers;
  source.allow_unverified = input.Below(2) == 1;
  const std::string json = testing::EditedText(input, Seeds());
  const Result<LayerIndex> index = IndexFromToc(json, source);
  CheckOneLine(index);
  if (!index.has_value()) {
    return;
  }
  for (const Unit& unit : index->data().units) {
    FLOE_CHECK(unit.range.end() <= source.payload_end && unit.codec == source.codec);
  }
  for (const Group& group : index->data().groups) {
    FLOE_CHECK(group.digest_kind == DigestKind::kSha256 || source.allow_unverified);
  }
}

void TryContainers(testing::FuzzInput& input) {
  Descriptor layer;
  layer.size_bytes = 10000;
  layer.annotations["io.containers.zstd-chunked.manifest-position"] = input.Bytes(20);
  CheckOneLine(ParseTocAnnotations(layer));
  const std::string bytes = input.Rest();
  const auto span = std::as_bytes(std::span(bytes.data(), bytes.size()));
  CheckOneLine(ParseFooter(span.last(std::min(span.size(), kMaxFooterBytes)), bytes.size()));
  CheckOneLine(DecodeGzipToc(span));
  CheckOneLine(DecodeZstdToc(span, 1U << 20U));
}

}  // namespace
}  // namespace floe::image

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  floe::testing::FuzzInput input(data, size);
  if (input.Below(4) == 0) {
    floe::image::TryContainers(input);
  } else {
    floe::image::TryToc(input);
  }
  return 0;
}
