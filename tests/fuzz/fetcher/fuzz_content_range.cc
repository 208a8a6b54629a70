#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "fetcher/http/content_range.h"
#include "fetcher/http/url.h"

// A range that is accepted is valid, and asking for it again asks for the same bytes.
// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer's name.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  namespace fetcher = floe::fetcher;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  if (floe::Result<fetcher::ContentRange> parsed = fetcher::ContentRange::Parse(text)) {
    FLOE_CHECK(parsed->range.IsValid() && !parsed->range.empty());
    FLOE_CHECK(!parsed->total_bytes || parsed->range.end() <= *parsed->total_bytes);
    fetcher::HttpResponse response;
    response.status = 206;
    response.headers.emplace("content-range", text);
    FLOE_CHECK(fetcher::CheckRangeAnswer(response, parsed->range).has_value());
  }
  if (floe::Result<fetcher::Url> url = fetcher::Url::Parse(text)) {
    floe::Result<fetcher::Url> again = fetcher::Url::Parse(url->ToString());
    FLOE_CHECK(again.has_value() && again->ToString() == url->ToString());
    (void)url->Resolve(text);
  }
  return 0;
}
