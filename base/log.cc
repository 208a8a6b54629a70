#include "base/log.h"

#include <memory>

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace floe {
namespace {

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

// Until InitLogging is called (in tests, mostly) warnings and errors go to standard error.
spdlog::logger& EarlyLogger() {
  static const std::shared_ptr<spdlog::logger> kLogger = [] {
    auto logger =
        std::make_shared<spdlog::logger>("floe", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    logger->set_level(spdlog::level::warn);
    return logger;
  }();
  return *kLogger;
}

std::shared_ptr<spdlog::logger>& Configured() {
  static std::shared_ptr<spdlog::logger> logger;
  return logger;
}

spdlog::logger& Logger() {
  spdlog::logger* configured = Configured().get();
  return configured != nullptr ? *configured : EarlyLogger();
}

}  // namespace

void InitLogging(std::string_view program, LogLevel level) {
  auto logger = std::make_shared<spdlog::logger>(std::string(program),
                                                 std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %l %n[%t] %v");
  logger->set_level(ToSpdlog(level));
  logger->flush_on(spdlog::level::debug);
  Configured() = std::move(logger);
}

Result<LogLevel> ParseLogLevel(std::string_view name) {
  if (name == "debug") {
    return LogLevel::kDebug;
  }
  if (name == "info") {
    return LogLevel::kInfo;
  }
  if (name == "warning") {
    return LogLevel::kWarning;
  }
  if (name == "error") {
    return LogLevel::kError;
  }
  return InvalidArgument("unknown log level '{}': use debug, info, warning or error", name);
}

bool LogEnabled(LogLevel level) { return Logger().should_log(ToSpdlog(level)); }

void LogLine(LogLevel level, std::string_view line) {
  Logger().log(ToSpdlog(level), "{}", fmt::string_view(line.data(), line.size()));
}

}  // namespace floe
