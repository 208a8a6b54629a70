#pragma once

#include <array>
#include <vector>

#include "tests/erofs/layer_fixture.h"

namespace floe::erofs::testing {

/// Two layers that hold every kind of entry that a bootstrap can hold, for the tests that compare
/// what other readers see of it.
class SampleLayers {
 public:
  SampleLayers();
  [[nodiscard]] std::vector<const LayerFixture*> layers() const {
    return {layers_.data(), &layers_[1]};
  }

 private:
  std::array<LayerFixture, 2> layers_;
};

}  // namespace floe::erofs::testing
