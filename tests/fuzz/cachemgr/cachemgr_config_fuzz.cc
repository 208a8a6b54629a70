// floe-cachemgr's configuration file: applied, or refused and nothing of it applied.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/check.h"
#include "cachemgr/config.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::vector<std::string> kSeeds = {
      "channel = \"fuse\"\nlog_level = \"debug\"\nreaders = 4\n"
      "[cache]\nmax_size = \"20 GiB\"\nmin_free_percent = 5\n"
      "[cachefiles]\ncull_percent = 7\nrun_percent = 10\nstop_percent = 3\n",
      "fill.request_timeout_ms = 1000\nfill.merge_gap_bytes = 0\nfill.workers = 8\n"
      "[registry]\nplain_http = [\"a.example:5000\"]\nhttp2 = false\nmax_attempts = 3\n"};
  floe::testing::FuzzInput input(data, size);
  floe::cachemgr::Config config;
  config.manager.channel = "before";
  const auto applied =
      floe::cachemgr::ApplyConfig(floe::testing::EditedText(input, kSeeds), config);
  if (!applied) {
    FLOE_CHECK(applied.error().code == floe::ErrorCode::kInvalidArgument);
  }
  FLOE_CHECK(applied.has_value() != (config.manager.channel == "before"));
  return 0;
}
