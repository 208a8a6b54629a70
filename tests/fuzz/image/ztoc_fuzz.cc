// A ztoc: what is accepted gives a layer index whose units lie within the blob and whose windows
// are complete; nothing is larger than a multiple of what was read.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/check.h"
#include "image/soci/ztoc_layer.h"
#include "tests/fuzz/input.h"
#include "tests/image/gzip_support.h"
#include "tests/image/soci/ztoc_support.h"
#include "tests/image/tar_support.h"

namespace {

using floe::image::IndexedLayer;
using floe::image::MakeZtoc;
using floe::image::PackZtoc;
using floe::image::Ztoc;

// Small ones: without a whole window in them.
std::vector<std::string> HonestZtocs() {
  floe::image::TarArchive archive;
  archive.Directory("d/").File("d/a", "some text").Symlink("d/l", "a").HardLink("b", "d/a");
  archive.Add("x", "y", {.pax = {{"SCHILY.xattr.user.a", "b"}}}).File("d/.wh.gone").End();
  const std::string& bytes = archive.bytes();
  return {PackZtoc(MakeZtoc(bytes, floe::image::GzipMember(bytes),
                            {.span_bytes = 1U << 20U, .implied_start = true})),
          PackZtoc(MakeZtoc(bytes, bytes, {.span_bytes = 2048, .uncompressed = true}))};
}

void CheckLayer(const IndexedLayer& layer, const Ztoc& ztoc) {
  uint64_t windows = 0;
  for (const floe::image::Unit& unit : layer.index.data().units) {
    FLOE_CHECK(unit.range.end() <= ztoc.blob_bytes);
    FLOE_CHECK(unit.window.empty() || unit.window.offset == windows);
    windows += unit.window.length;
  }
  FLOE_CHECK(windows == layer.windows.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::vector<std::string> seeds = HonestZtocs();
  floe::testing::FuzzInput input(data, size);
  const std::string bytes = floe::testing::EditedText(input, seeds);
  const auto ztoc = floe::image::ParseZtoc(bytes);
  if (!ztoc.has_value()) {
    return 0;
  }
  FLOE_CHECK(ztoc->spans.size() <= bytes.size() && ztoc->entries.size() <= bytes.size());
  const auto layer = floe::image::IndexZtocLayer(
      *ztoc, {.digest = floe::Digest::Of("layer"),
              .size_bytes = ztoc->blob_bytes,
              .media_type = "application/vnd.oci.image.layer.v1.tar+gzip",
              .diff_id = {}});
  if (layer.has_value()) {
    CheckLayer(*layer, *ztoc);
  }
  return 0;
}
