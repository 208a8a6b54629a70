#pragma once

#include "base/result.h"
#include "snapshotter/types.h"

/// The labels that Floe reads; others are only kept.
namespace floe::snapshotter {

/// On the Prepare of a layer: the chain ID that the layer's snapshot will have.
inline constexpr const char* kLabelSnapshotRef = "containerd.io/snapshot.ref";

/// "<container id>:<host id>:<size>[,...]": the mounts are for a user namespace.
inline constexpr const char* kLabelUidMapping = "containerd.io/snapshot/uidmapping";
inline constexpr const char* kLabelGidMapping = "containerd.io/snapshot/gidmapping";

/// containerd's limit: a label's key and value together.
inline constexpr size_t kMaxLabelBytes = 4096;

/// InvalidArgument for a label that is larger than containerd allows.
Result<void> CheckLabels(const Labels& labels);
/// As containerd stores them: a label with an empty value is none.
Labels WithoutEmptyValues(Labels labels);

}  // namespace floe::snapshotter
