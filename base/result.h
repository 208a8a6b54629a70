#pragma once

#include <utility>

#include <tl/expected.hpp>

#include "base/error.h"

namespace floe {

/// A value or an Error. Result<void> is for what may fail and returns nothing.
template <typename T>
class [[nodiscard]] Result : public tl::expected<T, Error> {
 public:
  using Base = tl::expected<T, Error>;
  using Base::Base;
  // NOLINTNEXTLINE(google-explicit-constructor): `return NotFound(...)` is the point of the type.
  Result(Error error) : Base(tl::unexpect, std::move(error)) {}
};

/// Success, for functions that return Result<void>.
inline Result<void> Ok() { return {}; }
// NOLINTBEGIN(bugprone-macro-parentheses): names and declarations cannot stand in parentheses.
#define FLOE_CONCAT_INNER(a, b) a##b
#define FLOE_CONCAT(a, b) FLOE_CONCAT_INNER(a, b)

/// Returns the error of `expr` from the current function, if it has one.
#define FLOE_RETURN_IF_ERROR_IMPL(tmp, expr)   \
  do {                                         \
    if (auto tmp = (expr); !tmp.has_value()) { \
      return std::move(tmp).error();           \
    }                                          \
  } while (false)
#define FLOE_RETURN_IF_ERROR(expr) \
  FLOE_RETURN_IF_ERROR_IMPL(FLOE_CONCAT(floe_result_, __LINE__), expr)

// `lhs` is a declaration:
// it may name a new variable.
#define FLOE_ASSIGN_OR_RETURN_IMPL(tmp, lhs, expr) \
  auto tmp = (expr);                               \
  if (!tmp.has_value()) {                          \
    return std::move(tmp).error();                 \
  }                                                \
  lhs = std::move(tmp).value()
// NOLINTEND(bugprone-macro-parentheses)
/// FLOE_ASSIGN_OR_RETURN(auto x, F()): x is F's value, or the current function returns F's error.
#define FLOE_ASSIGN_OR_RETURN(lhs, expr) \
  FLOE_ASSIGN_OR_RETURN_IMPL(FLOE_CONCAT(floe_assign_, __LINE__), lhs, expr)

}  // namespace floe
