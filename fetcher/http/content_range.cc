#include "fetcher/http/content_range.h"

#include <charconv>
#include <utility>

#include <fmt/format.h>

#include "fetcher/redact.h"

namespace floe::fetcher {
namespace {

constexpr int kOk = 200;
constexpr int kPartialContent = 206;

/// Takes digits from the front; false without any or when they do not fit.
bool TakeNumber(std::string_view& text, uint64_t& value) {
  if (text.empty() || text.front() < '0' || text.front() > '9') {
    return false;
  }
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) {
    return false;
  }
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return true;
}

bool TakeChar(std::string_view& text, char expected) {
  if (text.empty() || text.front() != expected) {
    return false;
  }
  text.remove_prefix(1);
  return true;
}

bool TakeUnit(std::string_view& text) {
  constexpr std::string_view kUnit = "bytes ";
  for (char c : kUnit) {
    // Setting this bit lowers letters and leaves the space alone.
    if (text.empty() || (text.front() | 0x20) != c) {
      return false;
    }
    text.remove_prefix(1);
  }
  return true;
}

}  // namespace

Result<ContentRange> ContentRange::Parse(std::string_view text) {
  std::string_view rest = text;
  uint64_t first = 0;
  uint64_t last = 0;
  if (!TakeUnit(rest) || !TakeNumber(rest, first) || !TakeChar(rest, '-') ||
      !TakeNumber(rest, last) || !TakeChar(rest, '/')) {
    return DataLoss("bad Content-Range '{}'", RedactText(text));
  }
  ContentRange parsed;
  uint64_t total = 0;
  if (TakeNumber(rest, total)) {
    parsed.total_bytes = total;
  } else if (!TakeChar(rest, '*')) {
    return DataLoss("bad Content-Range '{}'", RedactText(text));
  }
  bool wraps = last - first == UINT64_MAX;
  if (!rest.empty() || last < first || wraps || (parsed.total_bytes && last >= total)) {
    return DataLoss("bad Content-Range '{}'", RedactText(text));
  }
  parsed.range = {.offset = first, .length = last - first + 1};
  return parsed;
}

std::string RangeHeader(ByteRange range) {
  return fmt::format("bytes={}-{}", range.offset, range.end() - 1);
}

Result<void> CheckRangeAnswer(const HttpResponse& response, ByteRange wanted,
                              std::optional<uint64_t> blob_bytes) {
  if (response.status == kOk) {
    if (wanted.offset == 0 && wanted.length == blob_bytes.value_or(wanted.length) &&
        response.Header("content-length") == fmt::format("{}", wanted.length)) {
      return Ok();
    }
    return WithFault(
        DataLoss("status 200 to a request for bytes [{}, {})", wanted.offset, wanted.end()),
        FaultKind::kRangeIgnored);
  }
  if (response.status != kPartialContent) {
    return WithFault(DataLoss("status {} to a range request", response.status),
                     FaultKind::kRangeIgnored);
  }
  Result<ContentRange> got = ContentRange::Parse(response.Header("content-range"));
  if (!got) {
    return WithFault(std::move(got).error(), FaultKind::kWrongContentRange);
  }
  const uint64_t total = got->total_bytes.value_or(0);
  const uint64_t expected_total = blob_bytes.value_or(total);
  if (total != 0 && total != expected_total) {
    return WithFault(DataLoss("the blob has {} bytes instead of {}", total, expected_total),
                     FaultKind::kWrongSize);
  }
  if (got->range != wanted) {
    return WithFault(DataLoss("Content-Range [{}, {}) instead of [{}, {})", got->range.offset,
                              got->range.end(), wanted.offset, wanted.end()),
                     FaultKind::kWrongContentRange);
  }
  std::string length = response.Header("content-length");
  if (!length.empty() && length != fmt::format("{}", wanted.length)) {
    return WithFault(DataLoss("Content-Length {} for bytes [{}, {})", length.substr(0, 20),
                              wanted.offset, wanted.end()),
                     FaultKind::kWrongSize);
  }
  return Ok();
}

}  // namespace floe::fetcher
