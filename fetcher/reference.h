#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/digest.h"
#include "base/result.h"

namespace floe::fetcher {

/// A blob or manifest lives in a repository of a registry.
struct Repository {
  std::string registry;  ///< host[:port], as in the reference ("docker.io" stays "docker.io").
  std::string path;      ///< "library/debian"

  [[nodiscard]] std::string ToString() const { return registry + "/" + path; }
  auto operator<=>(const Repository&) const = default;
};

/// An image reference (distribution spec, reference grammar): registry/path[:tag][@digest].
/// Familiar names are completed: "debian" -> docker.io/library/debian:latest.
struct Reference {
  Repository repository;
  std::string tag;               ///< Empty when only a digest is given.
  std::optional<Digest> digest;  ///< Wins over the tag.

  /// InvalidArgument names what is wrong.
  static Result<Reference> Parse(std::string_view text);
  /// Canonical: registry/path:tag@digest with what is known.
  [[nodiscard]] std::string ToString() const;
  /// What goes into the manifests/ path: the digest, or the tag.
  [[nodiscard]] std::string ManifestName() const;
};

}  // namespace floe::fetcher
