#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/check.h"
#include "snapshotter/labels.h"
#include "snapshotter/remote.h"
#include "snapshotter/snapshot_dirs.h"
#include "tests/fuzz/input.h"

namespace floe::snapshotter {
namespace {

template <typename T>
void CheckOneLine(const Result<T>& result) {
  FLOE_CHECK(result.has_value() || result.error().message.find('\n') == std::string::npos);
}

// The labels of CRI and of ctr-remote, with a user namespace; one "key=value" a line.
const std::vector<std::string>& Seeds() {
  static const std::string digest = "sha256:" + std::string(64, 'a');
  static const std::vector<std::string> kSeeds = {
      "containerd.io/snapshot.ref=" + digest +
          "\ncontainerd.io/snapshot/cri.image-ref=registry.example/app:1"
          "\ncontainerd.io/snapshot/cri.manifest-digest=" +
          digest + "\ncontainerd.io/snapshot/cri.layer-digest=" + digest,
      "containerd.io/snapshot.ref=" + digest +
          "\ncontainerd.io/snapshot/remote/stargz.reference=registry.example/app:1"
          "\ncontainerd.io/snapshot/remote/stargz.digest=" +
          digest,
      "containerd.io/snapshot/uidmapping=0:1000:65536,70000:1:2"
      "\ncontainerd.io/snapshot/gidmapping=0:2000:65536"};
  return kSeeds;
}

// Edits may put any bytes into keys and values but a newline, which a NUL stands for.
Labels ParseLabels(const std::string& text) {
  Labels labels;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string line = text.substr(at, end - at);
    std::ranges::replace(line, '\0', '\n');
    const size_t equals = std::min(line.find('='), line.size() - (line.empty() ? 0 : 1));
    labels[line.substr(0, equals)] = line.substr(std::min(equals + 1, line.size()));
    at = end + 1;
  }
  return labels;
}

}  // namespace
}  // namespace floe::snapshotter

// The labels of a Prepare: understood, or refused in one line.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace floe::snapshotter;  // NOLINT(google-build-using-namespace): an extern "C"
                                      // function.
  floe::testing::FuzzInput input(data, size);
  const Labels labels = ParseLabels(floe::testing::EditedText(input, Seeds()));
  CheckOneLine(CheckLabels(labels));
  CheckOneLine(MappedRoot(labels));
  FLOE_CHECK(!WithoutEmptyValues(labels).contains("") || !labels.at("").empty());
  if (labels.contains(kLabelSnapshotRef)) {
    const auto target = ReadRemoteTarget(labels);
    CheckOneLine(target);
    if (target) {
      FLOE_CHECK(!target->image_ref.empty());
      FLOE_CHECK(target->chain_id.ToString() == labels.at(kLabelSnapshotRef));
    }
  }
  return 0;
}
