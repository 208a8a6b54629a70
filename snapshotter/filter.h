#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "snapshotter/types.h"

namespace re2 {
class RE2;
}

/// containerd's filter language (package filters of containerd 1.6 to 2.x):
///
///     filter    := selector ("," selector)*          all must hold
///     selector  := fieldpath [operator value]        without operator: the field is present
///     fieldpath := field ("." field)*
///     field     := [A-Za-z0-9_]+ | quoted
///     operator  := "==" | "!=" | "~="                 ~= is a regular expression (RE2), anywhere
///     value     := quoted | printable characters but space and comma
///     quoted    := "..." with Go's escapes; after ~= also /.../ and |...|
///
/// Fields of a snapshot: name, parent, kind (active, view, committed), labels.<key>. An unknown
/// field is never present.
namespace floe::snapshotter {

/// A list of filters; a snapshot matches when one of them does, or when there are none. Immutable;
/// any thread.
class Filter {
 public:
  /// InvalidArgument shows where the text stops making sense.
  static Result<Filter> Parse(const std::vector<std::string>& filters);

  Filter(Filter&&) noexcept;
  Filter& operator=(Filter&&) noexcept;
  ~Filter();

  [[nodiscard]] bool Matches(const Info& snapshot) const;

 private:
  friend class FilterParser;
  enum class Operator { kPresent, kEqual, kNotEqual, kMatches };
  struct Selector {
    std::vector<std::string> path;
    Operator op = Operator::kPresent;
    std::string value;
    std::unique_ptr<re2::RE2> expression;  ///< kMatches.
  };
  using All = std::vector<Selector>;

  Filter();
  static bool Holds(const Selector& selector, const Info& snapshot);

  std::vector<All> any_;
};

}  // namespace floe::snapshotter
