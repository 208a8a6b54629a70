#include "snapshotter/labels.h"

#include "base/quote.h"

namespace floe::snapshotter {

Result<void> CheckLabels(const Labels& labels) {
  for (const auto& [key, value] : labels) {
    if (key.size() + value.size() > kMaxLabelBytes) {
      return InvalidArgument("label {}: key and value are {} bytes, more than {}", Quote(key),
                             key.size() + value.size(), kMaxLabelBytes);
    }
  }
  return Ok();
}

Labels WithoutEmptyValues(Labels labels) {
  std::erase_if(labels, [](const auto& label) { return label.second.empty(); });
  return labels;
}

}  // namespace floe::snapshotter
