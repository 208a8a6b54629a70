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

namespace floe::prepare {

/// A tree object kept on the node, with what is needed to check and trust it again.
struct StoredTree {
  std::string bytes;      ///< As pushed; its digest was checked when it was read.
  Digest index_manifest;  ///< Of the artifact it came from; zero for one computed here.
  std::optional<ArtifactObject> windows;
};

/// Tree objects on the node: <root>/<scope>/<layer digest hex>.{tree,json} (docs/formats.md). A
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

  /// True when an entry is there that Get would look at.
  [[nodiscard]] bool Has(const std::string& scope, const Digest& layer) const;
  /// NotFound: there is none (or a damaged one).
  [[nodiscard]] Result<StoredTree> Get(const std::string& scope, const Digest& layer) const;
  Result<void> Put(const std::string& scope, const Digest& layer, const StoredTree& tree) const;

 private:
  [[nodiscard]] std::filesystem::path Stem(const std::string& scope, const Digest& layer) const;
  std::filesystem::path root_;
};

}  // namespace floe::prepare
