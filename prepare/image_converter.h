#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "fetcher/registry_client.h"
#include "image/convert/layer_converter.h"
#include "prepare/image_resolver.h"
#include "prepare/index_publisher.h"

namespace floe::prepare {

struct ConvertImageOptions {
  image::ConvertOptions layer;
  int parallel_layers = 2;
  /// Of the converted layers until they are pushed. Must exist, and have room for all of them.
  std::string temporary_directory = "/var/tmp";
};

struct ConvertedImageLayer {
  Digest before, after;
  uint64_t bytes_before = 0, bytes_after = 0;
  Digest diff_id_before, diff_id_after;
  uint64_t entries = 0, chunks = 0;
  bool reused = false;  ///< The repository had the blob already.
};
struct ConvertedImage {
  Digest manifest, config;
  Digest toc_manifest;                      ///< Of the image of external tables; zero without.
  std::string toc_tag;                      ///< Its tag.
  std::vector<ConvertedImageLayer> layers;  ///< Each distinct one, in manifest order.
};

/// Writes `image` with layers that can be read at random, as `target` (in any repository that the
/// client may push to): streams each distinct layer once into a temporary file, then pushes blobs,
/// config and an OCI manifest, whose tag comes last. Nothing is pushed unless every layer was
/// converted. The config keeps its bytes where the diff IDs stay, which is all but kEStargz.
/// Running it again gives the same image and pushes no blob twice.
/// InvalidArgument: `target` has no tag; Unimplemented: a layer that is no tar, that may not be
/// distributed, or that has an entry that no table of contents can describe.
Result<ConvertedImage> ConvertImage(fetcher::RegistryClient& client, const ResolvedImage& image,
                                    const fetcher::Reference& target,
                                    const ConvertImageOptions& options, const ProgressFn& progress,
                                    Deadline deadline);

}  // namespace floe::prepare
