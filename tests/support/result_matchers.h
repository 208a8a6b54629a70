#pragma once

#include <gmock/gmock.h>

#include "base/result.h"

namespace floe::testing {

inline std::string Describe(const Error& error) { return error.ToString(); }

}  // namespace floe::testing

/// The expression is a Result; its error is printed when it has one.
#define FLOE_EXPECT_OK(expr)                                                                     \
  do {                                                                                           \
    const auto& floe_r_ = (expr);                                                                \
    EXPECT_TRUE(floe_r_.has_value()) << (floe_r_.has_value() ? "" : floe_r_.error().ToString()); \
  } while (false)
#define FLOE_ASSERT_OK(expr)                                                                     \
  do {                                                                                           \
    const auto& floe_r_ = (expr);                                                                \
    ASSERT_TRUE(floe_r_.has_value()) << (floe_r_.has_value() ? "" : floe_r_.error().ToString()); \
  } while (false)
/// The Result failed with this code and its message contains the text.
#define FLOE_EXPECT_ERROR(expr, expected_code, text)                              \
  do {                                                                            \
    const auto& floe_r_ = (expr);                                                 \
    ASSERT_FALSE(floe_r_.has_value()) << "expected an error";                     \
    EXPECT_EQ(floe_r_.error().code, expected_code) << floe_r_.error().ToString(); \
    EXPECT_THAT(floe_r_.error().message, ::testing::HasSubstr(text));             \
  } while (false)
/// FLOE_ASSERT_OK_AND_ASSIGN(auto x, F()).
#define FLOE_ASSERT_OK_AND_ASSIGN(lhs, expr) \
  FLOE_ASSERT_OK_AND_ASSIGN_IMPL(FLOE_CONCAT(floe_test_, __LINE__), lhs, expr)
#define FLOE_ASSERT_OK_AND_ASSIGN_IMPL(tmp, lhs, expr)    \
  auto tmp = (expr);                                      \
  ASSERT_TRUE(tmp.has_value()) << tmp.error().ToString(); \
  lhs = std::move(tmp).value()
