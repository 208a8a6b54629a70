#include "snapshotter/chain.h"

#include <map>
#include <utility>

namespace floe::snapshotter {
namespace {

std::string MakeRunKey(const Digest& top, uint64_t base_id) {
  return base_id == 0 ? top.hex() : top.hex() + "-" + std::to_string(base_id);
}

}  // namespace

std::vector<Piece> SplitChain(const Chain& chain) {
  std::vector<Piece> pieces;
  for (const ChainLink& link : chain) {
    const bool continues = !pieces.empty() && pieces.back().is_run() && link.lazy.has_value();
    if (!continues) {
      if (!pieces.empty()) {
        pieces.back().base_id = link.id;
      }
      pieces.push_back({.top_id = link.id, .base_id = 0, .layers = {}});
    }
    if (link.lazy) {
      pieces.back().layers.push_back(*link.lazy);
    }
  }
  return pieces;
}

std::string RunKey(const Piece& run) {
  return MakeRunKey(run.layers.front().chain_id, run.base_id);
}

RunsInUse FindRunsInUse(const std::vector<Node>& nodes) {
  std::map<uint64_t, const Node*> by_id;
  for (const Node& node : nodes) {
    by_id[node.id] = &node;
  }
  const auto parent_of = [&](const Node* node) -> const Node* {
    const auto parent = by_id.find(node->parent_id);
    return parent == by_id.end() ? nullptr : parent->second;
  };

  RunsInUse in_use;
  for (const Node& node : nodes) {
    if (node.kind != Kind::kCommitted) {
      bool above_is_lazy = false;
      for (const Node* at = parent_of(&node); at != nullptr; at = parent_of(at)) {
        if (at->lazy && !above_is_lazy) {
          in_use.tops.insert(at->id);
        }
        above_is_lazy = at->lazy.has_value();
      }
    }
    if (node.lazy) {
      const Node* base = parent_of(&node);
      while (base != nullptr && base->lazy) {
        base = parent_of(base);
      }
      in_use.keys.insert(MakeRunKey(node.lazy->chain_id, base == nullptr ? 0 : base->id));
    }
  }
  return in_use;
}

}  // namespace floe::snapshotter
