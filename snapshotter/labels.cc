#include "snapshotter/labels.h"

namespace floe::snapshotter {

Result<void> CheckLabels(const Labels& labels) {
  constexpr size_t kShownBytes = 64;
  for (const auto& [key, value] : labels) {
    if (key.size() + value.size() > kMaxLabelBytes) {
      return InvalidArgument("label {}: key and value are {} bytes, more than {}",
                             key.substr(0, kShownBytes), key.size() + value.size(), kMaxLabelBytes);
    }
  }
  return Ok();
}

Labels WithoutEmptyValues(Labels labels) {
  std::erase_if(labels, [](const auto& label) { return label.second.empty(); });
  return labels;
}

}  // namespace floe::snapshotter
