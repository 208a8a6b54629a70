#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/check.h"
#include "snapshotter/config.h"
#include "tests/fuzz/input.h"

// floe-snapshotter's configuration file: understood or refused.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::vector<std::string> kSeeds = {
      "log_level = \"debug\"\nresolve_timeout_ms = 1000\nindex.trust = \"bound\"\n",
      "[registry]\nplain_http = [\"a.example:5000\"]\nca_file = '/ca.pem'\n"
      "[index]\ntrust = \"\"\"repository\"\"\"\n"};
  floe::testing::FuzzInput input(data, size);
  const auto config =
      floe::snapshotter::ParseConfig(floe::testing::EditedText(input, kSeeds), "file");
  FLOE_CHECK(config.has_value() || config.error().code == floe::ErrorCode::kInvalidArgument);
  return 0;
}
