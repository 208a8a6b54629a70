// Writes a RAFS v6 image that no fixture has, for the end-to-end tests:
//   write_rafs_image compact|dictionary OUT
// OUT/image/{image.boot,<digest>...}: the bootstrap and the blobs of the image's own layers;
// OUT/dictionary/<digest>: a blob of another image (dictionary); OUT/expected/: the files as they
// are.
#include <sys/stat.h>

#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/file.h"
#include "tests/image/rafs/rafs_writer.h"

namespace floe::image::rafs {
namespace {

namespace fs = std::filesystem;

std::string Prose(size_t bytes, int seed) {
  std::string text;
  for (int line = 0; text.size() < bytes; ++line) {
    text += "line " + std::to_string(line * seed) + " of a file whose chunks lie in blobs\n";
  }
  text.resize(bytes);
  return text;
}

std::vector<WriterNode> Files() {
  return {File("both", Prose(50000, 7), {0, 1}), File("first", Prose(9000, 11), {0}),
          File("second", Prose(13000, 13), {1}), File("small", "a few bytes", {1})};
}

Result<void> Write(const std::string& kind, const fs::path& out) {
  const WrittenImage image =
      WriteImage(Directory("", Files()),
                 {.compact = kind == "compact", .blob_count = 2, .chunk_info_v2 = true});
  for (const char* directory : {"image", "dictionary", "expected"}) {
    FLOE_RETURN_IF_ERROR(CreateDirectories(out / directory));
  }
  FLOE_RETURN_IF_ERROR(WriteFileAtomically(out / "image" / "image.boot", image.bootstrap));
  for (size_t i = 0; i < image.blobs.size(); ++i) {
    const char* place = kind == "dictionary" && i == 1 ? "dictionary" : "image";
    FLOE_RETURN_IF_ERROR(
        WriteFileAtomically(out / place / Digest::Of(image.blobs[i]).hex(), image.blobs[i]));
  }
  for (const WriterNode& file : Files()) {
    FLOE_RETURN_IF_ERROR(WriteFileAtomically(out / "expected" / file.name, file.content));
  }
  return Ok();
}

}  // namespace
}  // namespace floe::image::rafs

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() != 2 || (arguments[0] != "compact" && arguments[0] != "dictionary")) {
    std::cerr << "usage: write_rafs_image compact|dictionary OUT\n";
    return 2;
  }
  if (const auto written = floe::image::rafs::Write(arguments[0], arguments[1]); !written) {
    std::cerr << "write_rafs_image: " << written.error().ToString() << "\n";
    return 1;
  }
  return 0;
}
