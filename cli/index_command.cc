#include <algorithm>
#include <utility>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/quote.h"
#include "cli/command.h"
#include "cli/image_source.h"
#include "cli/progress.h"
#include "prepare/image_resolver.h"
#include "prepare/index_publisher.h"

namespace floe::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kShortDigest = 12;

struct IndexCommandOptions {
  ImageSource image;
  uint64_t span_bytes = image::IndexerOptions{}.span_bytes;
  bool bind = false;
  std::string bind_tag;
  std::string store_dir;
};

Json LayerJson(const prepare::PublishedLayer& layer) {
  return {{"layer", layer.layer.ToString()},
          {"tree", layer.tree.ToString()},
          {"compressed_bytes", layer.compressed_bytes},
          {"tree_bytes", layer.tree_bytes},
          {"windows_bytes", layer.windows_bytes},
          {"device_bytes", layer.device_bytes},
          {"units", layer.units},
          {"inodes", layer.inodes},
          {"reused", layer.reused}};
}

void PrintPublished(const prepare::PublishedIndex& index, bool json) {
  if (json) {
    Json layers = Json::array();
    for (const prepare::PublishedLayer& layer : index.layers) {
      layers.push_back(LayerJson(layer));
    }
    Json result{{"index", index.manifest.ToString()},
                {"fallback_tag", index.used_fallback_tag},
                {"layers", std::move(layers)}};
    if (!index.bound_index.IsZero()) {
      result["bound_index"] = index.bound_index.ToString();
    }
    fmt::print("{}\n", result.dump(2));
    return;
  }
  for (const prepare::PublishedLayer& layer : index.layers) {
    fmt::print("layer {}  {} -> tree {}, windows {}, {} units, {} inodes{}\n",
               layer.layer.hex().substr(0, kShortDigest), FormatBytes(layer.compressed_bytes),
               FormatBytes(layer.tree_bytes), FormatBytes(layer.windows_bytes), layer.units,
               layer.inodes, layer.reused ? " (was there)" : "");
  }
  fmt::print("index {}{}\n", index.manifest.ToString(),
             index.used_fallback_tag ? " (listed under the fallback tag)" : "");
  if (!index.bound_index.IsZero()) {
    fmt::print("bound by {}\n", index.bound_index.ToString());
  }
}

Result<void> RunCreate(const GlobalOptions& global, const IndexCommandOptions& options) {
  FLOE_ASSIGN_OR_RETURN(const ImageSource::Target target, options.image.Locate(global));
  FLOE_ASSIGN_OR_RETURN(prepare::ResolvedImage image,
                        prepare::ResolveImage(*target.registry, target.reference, std::nullopt,
                                              target.platform, Deadline::Infinite()));
  prepare::PublishOptions publish;
  publish.indexer.span_bytes = options.span_bytes;
  publish.bind = options.bind || !options.bind_tag.empty();
  publish.bind_tag = options.bind_tag;
  publish.store_dir = options.store_dir;
  prepare::PublishedIndex published;
  {
    ProgressBars bars(LayerLabels(image));
    FLOE_ASSIGN_OR_RETURN(published, prepare::CreateIndex(
                                         *target.registry, image, publish,
                                         [&](const prepare::Progress& progress) {
                                           bars.Update(progress.layer, progress.bytes_done,
                                                       progress.bytes_total);
                                         },
                                         Deadline::Infinite()));
  }
  PrintPublished(published, global.json);
  return Ok();
}

// Decoded bytes between two checkpoints, on average: the span the layer was indexed with is a goal.
uint64_t MeanSpan(const image::LayerIndexData& data) {
  uint64_t decoded = 0;
  for (const image::Unit& unit : data.units) {
    decoded += unit.decoded_length;
  }
  return data.units.empty() ? 0 : decoded / data.units.size();
}

Json ShownIndex(const image::LayerIndexData& data) {
  uint64_t windows = 0;
  uint64_t device = 0;
  for (const image::SourceBlob& blob : data.blobs) {
    windows += blob.windows_size_bytes;
    device += blob.device_size_bytes;
  }
  return {{"producer", data.producer},    {"windows_bytes", windows},
          {"device_bytes", device},       {"units", data.units.size()},
          {"groups", data.groups.size()}, {"mean_span_bytes", MeanSpan(data)},
          {"inodes", data.inodes.size()}};
}

// A layer without an index would be streamed.
Json ShownLayer(const image::Descriptor& descriptor, const prepare::LayerWithIndex& layer) {
  Json shown{{"layer", descriptor.digest.ToString()},
             {"media_type", descriptor.media_type},
             {"reader", layer.reader},
             {"compressed_bytes", descriptor.size_bytes}};
  if (!layer.why_not.empty()) {
    shown["why_not"] = layer.why_not;
  }
  if (layer.index != nullptr) {
    shown["origin"] = prepare::ToString(layer.origin);
    shown["tree_bytes"] = layer.tree_bytes;
    shown.update(ShownIndex(layer.index->data()));
  }
  return shown;
}

// An image none of whose layers has an index is shown as the error that it was before.
Result<void> CheckAnyIndex(const prepare::IndexedImage& indexed) {
  const auto& layers = indexed.layers;
  if (!layers.empty() && std::ranges::none_of(layers, [](const prepare::LayerWithIndex& layer) {
        return layer.index != nullptr;
      })) {
    return NotFound("{}", layers.front().why_not);
  }
  return Ok();
}

// Strings come from the index and the manifest: nothing of them may steer the terminal.
std::string ForTerminal(const Json& value) {
  if (!value.is_string()) {
    return value.dump();
  }
  const std::string quoted = Quote(value.get<std::string>());
  return quoted.substr(1, quoted.size() - 2);
}

Result<void> RunShow(const GlobalOptions& global, const IndexCommandOptions& options) {
  FLOE_ASSIGN_OR_RETURN(const ImageSource::Target target, options.image.Locate(global));
  FLOE_ASSIGN_OR_RETURN(
      prepare::IndexedImage indexed,
      prepare::ResolveIndexedImage(
          *target.registry, target.reference, std::nullopt, target.platform,
          {.store_dir = options.store_dir, .may_stream = true}, Deadline::Infinite()));
  FLOE_RETURN_IF_ERROR(CheckAnyIndex(indexed));
  Json layers = Json::array();
  for (size_t i = 0; i < indexed.layers.size(); ++i) {
    layers.push_back(ShownLayer(indexed.image.manifest.layers[i], indexed.layers[i]));
  }
  if (global.json) {
    Json result{{"manifest", indexed.image.manifest_digest.ToString()},
                {"layers", std::move(layers)}};
    fmt::print("{}\n", result.dump(2, ' ', false, Json::error_handler_t::replace));
    return Ok();
  }
  fmt::print("manifest {}\n", indexed.image.manifest_digest.ToString());
  for (const Json& layer : layers) {
    fmt::print("layer {}\n", layer["layer"].get<std::string>());
    for (const auto& [key, value] : layer.items()) {
      if (key != "layer") {
        fmt::print("  {:<17} {}\n", key, ForTerminal(value));
      }
    }
  }
  return Ok();
}

}  // namespace

void AddIndexCommands(CLI::App& app, GlobalOptions& options, Selection& selection) {
  auto state = std::make_shared<IndexCommandOptions>();
  CLI::App* index = app.add_subcommand("index", "Make and look at lazy-loading indexes");
  index->require_subcommand(1);

  CLI::App* create =
      index->add_subcommand("create", "Index every layer of an image and push the index beside it");
  state->image.AddTo(*create);
  create->add_option("--span", state->span_bytes, "Decoded bytes between two checkpoints")
      ->check(CLI::Range(uint64_t{64} << 10U, uint64_t{16} << 20U));
  create->add_flag("--bind", state->bind, "Push an OCI index that binds image and index by digest");
  create->add_option("--bind-tag", state->bind_tag, "Tag for the binding index (implies --bind)");
  create->add_option("--store", state->store_dir, "Keep the index in this directory as well");
  create->callback([&options, &selection, state] {
    selection.body = [&options, state] { return RunCreate(options, *state); };
  });

  CLI::App* show = index->add_subcommand("show", "Show the index of an image, layer by layer");
  state->image.AddTo(*show);
  show->add_option("--store", state->store_dir, "Look in this directory first");
  show->callback([&options, &selection, state] {
    selection.body = [&options, state] { return RunShow(options, *state); };
  });
}

Result<std::unique_ptr<fetcher::RegistryClient>> MakeRegistryClient(const GlobalOptions& options,
                                                                    const std::string& registry) {
  fetcher::RegistryOptions registry_options;
  registry_options.plain_http = options.plain_http;
  if (options.plain_http_all) {
    registry_options.plain_http.push_back(registry);
  }
  registry_options.ca_file = options.ca_file;
  registry_options.docker_config_dir = options.docker_config_dir;
  return fetcher::RegistryClient::Create(registry_options);
}

}  // namespace floe::cli
