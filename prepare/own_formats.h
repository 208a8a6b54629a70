#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "prepare/layer_reader.h"

namespace floe::prepare {

/// A way to read a layer that the image itself names, by annotations or media types.
struct OwnFormat {
  std::string_view reader;
  /// Under which the result is kept: it changes with everything that vouches for the result.
  std::string scope;
  std::function<Result<ReadLayer>(const LayerContext&)> read;
};

/// The own formats of the layers of one image. Thread-safe.
class OwnFormats {
 public:
  /// `image` must outlive this; its config may come later.
  OwnFormats(const ResolvedImage& image, bool allow_unverified);

  /// In the order in which they are to be tried; asks no registry.
  [[nodiscard]] std::vector<OwnFormat> Of(size_t position) const;
  /// The layers are parts of one whole: none of them can be read, or unpacked, alone.
  [[nodiscard]] bool is_indivisible() const;

 private:
  class BoundSociIndex;

  [[nodiscard]] OwnFormat NydusFormat(size_t position) const;

  const ResolvedImage& image_;
  const bool allow_unverified_;
  std::shared_ptr<BoundSociIndex> soci_;  ///< Null: the manifest names none.
};

}  // namespace floe::prepare
