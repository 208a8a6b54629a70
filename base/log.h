#pragma once

#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "base/result.h"

namespace floe {

/// error = an operator must know, warning = degraded but served, info = lifecycle,
/// debug = per request. Nothing at info per read.
enum class LogLevel { kDebug, kInfo, kWarning, kError };

/// Sets up the process's log on standard error; call once at the start of main. `program` stands in
/// each line. Before the call nothing below kWarning is printed.
void InitLogging(std::string_view program, LogLevel level);
/// "debug", "info", "warning" or "error".
Result<LogLevel> ParseLogLevel(std::string_view name);
[[nodiscard]] bool LogEnabled(LogLevel level);
void LogLine(LogLevel level, std::string_view line);

/// One line is an event and key=value fields: LogInfo("mount ready key={} elapsed_ms={}", key, ms).
template <typename... Args>
void LogError(fmt::format_string<Args...> format, Args&&... args) {
  LogLine(LogLevel::kError, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void LogWarning(fmt::format_string<Args...> format, Args&&... args) {
  LogLine(LogLevel::kWarning, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void LogInfo(fmt::format_string<Args...> format, Args&&... args) {
  LogLine(LogLevel::kInfo, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void LogDebug(fmt::format_string<Args...> format, Args&&... args) {
  if (LogEnabled(LogLevel::kDebug)) {
    LogLine(LogLevel::kDebug, fmt::format(format, std::forward<Args>(args)...));
  }
}

}  // namespace floe
