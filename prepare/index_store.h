#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "base/digest.h"
#include "base/result.h"
#include "fetcher/reference.h"
#include "image/layer_index.h"
#include "prepare/index_artifact.h"
#include "prepare/layer_reader.h"

namespace floe::prepare {

/// A tree object kept on the node, with what is needed to check and trust it again.
struct StoredTree {
  std::string bytes;      ///< As pushed; its digest was checked when it was read.
  Digest index_manifest;  ///< Of the artifact it came from; zero for one computed here.
  /// Of a Floe index: the windows object, in the registry or (local_windows) in this store.
  std::optional<ArtifactObject> windows;
  std::string reader = std::string(kFloeIndexReader);  ///< What made it (prepare/layer_reader.h).
  std::string why_not = {};                            ///< LayerWithIndex::why_not.
  bool local_windows = false;  ///< Its windows are in windows_directory(), and only there.
};

/// Tree objects on the node: <root>/<scope>/<layer digest hex>.{tree,json}, and windows that the
/// node made itself: <root>/windows/<digest hex> (docs/formats.md). A
/// scope is who vouches for the tree, so that one repository's index never speaks for another's
/// image. Any thread; files appear atomically; a damaged entry is a miss.
/// With an empty root it holds and keeps nothing.
class IndexStore {
 public:
  explicit IndexStore(std::filesystem::path root) : root_(std::move(root)) {}

  static std::string LocalScope() { return "local"; }
  static std::string RepositoryScope(const fetcher::Repository& repository);
  /// `index`: digest of the OCI index that binds the artifact.
  static std::string BoundScope(const Digest& index);
  /// Of indexes that other projects' referrers hold.
  static std::string ForeignScope(const fetcher::Repository& repository, std::string_view reader);
  /// Who vouches for what is kept under this scope.
  static image::IndexOrigin OriginOf(std::string_view scope);

  /// True when an entry is there that Get would look at.
  [[nodiscard]] bool Has(const std::string& scope, const Digest& layer) const;
  /// NotFound: there is none (or a damaged one).
  [[nodiscard]] Result<StoredTree> Get(const std::string& scope, const Digest& layer) const;
  Result<void> Put(const std::string& scope, const Digest& layer, const StoredTree& tree) const;

  /// Keeps a windows part under its digest.
  Result<void> PutWindows(std::string_view bytes) const;
  [[nodiscard]] bool HasWindows(const Digest& digest) const;
  /// Empty without a root.
  [[nodiscard]] std::filesystem::path windows_directory() const;

 private:
  [[nodiscard]] std::filesystem::path Stem(const std::string& scope, const Digest& layer) const;
  std::filesystem::path root_;
};

}  // namespace floe::prepare
