#include "image/soci/soci_prefetch.h"

#include <algorithm>
#include <utility>

#include <nlohmann/json.hpp>

namespace floe::image {
namespace {

using nlohmann::json;

struct RankedRun {
  std::pair<int64_t, size_t> rank;  ///< Priority, then the place in the list.
  SociSpanRun run;
};

// Go leaves zeros out.
Result<int64_t> GetNumber(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end()) {
    return 0;
  }
  if (!found->is_number_integer()) {
    return InvalidArgument("prefetch list: {} is not a number", key);
  }
  return found->get<int64_t>();
}

Result<RankedRun> ReadRun(const json& object, size_t span_count) {
  if (!object.is_object()) {
    return InvalidArgument("prefetch list: spans that are not an object");
  }
  RankedRun ranked;
  FLOE_ASSIGN_OR_RETURN(const int64_t first, GetNumber(object, "start_span"));
  FLOE_ASSIGN_OR_RETURN(const int64_t last, GetNumber(object, "end_span"));
  FLOE_ASSIGN_OR_RETURN(ranked.rank.first, GetNumber(object, "priority"));
  if (first < 0 || last < first) {
    return InvalidArgument("prefetch list: spans {} to {}", first, last);
  }
  if (static_cast<uint64_t>(last) >= span_count) {
    return DataLoss("prefetch list: spans {} to {} of {}", first, last, span_count);
  }
  ranked.run = {.first = static_cast<uint64_t>(first), .last = static_cast<uint64_t>(last)};
  return ranked;
}

}  // namespace

Result<std::vector<SociSpanRun>> ParseSociPrefetch(std::string_view text, size_t span_count) {
  if (text.size() > kMaxSociPrefetchBytes) {
    return InvalidArgument("a prefetch list of {} bytes", text.size());
  }
  const json document = json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!document.is_object() || document.value("version", json()) != "1.0") {
    return InvalidArgument("not a prefetch list of version 1.0");
  }
  const auto spans = document.find("prefetch_spans");
  if (spans == document.end() || !spans->is_array()) {
    return InvalidArgument("prefetch list: no prefetch_spans");
  }
  std::vector<RankedRun> ranked;
  for (const json& object : *spans) {
    FLOE_ASSIGN_OR_RETURN(RankedRun run, ReadRun(object, span_count));
    run.rank.second = ranked.size();
    ranked.push_back(run);
  }
  std::ranges::sort(ranked, {}, &RankedRun::rank);
  std::vector<SociSpanRun> runs;
  runs.reserve(ranked.size());
  for (const RankedRun& run : ranked) {
    runs.push_back(run.run);
  }
  return runs;
}

}  // namespace floe::image
