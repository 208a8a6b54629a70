#include <algorithm>
#include <memory>
#include <utility>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/image_source.h"
#include "cli/progress.h"
#include "prepare/image_converter.h"
#include "prepare/image_resolver.h"

namespace floe::cli {
namespace {

using Json = nlohmann::ordered_json;
using image::SeekableFormat;
using image::ZstdAnnotations;

constexpr size_t kShortDigest = 12;

struct ConvertCommandOptions {
  ImageSource image;
  std::string new_reference;
  std::string format = "zstdchunked";
  std::string annotations = "stargz";
  bool external_toc = false;
  prepare::ConvertImageOptions convert;
};

Json LayerJson(const prepare::ConvertedImageLayer& layer) {
  return {{"layer", layer.before.ToString()},
          {"converted", layer.after.ToString()},
          {"bytes", layer.bytes_before},
          {"converted_bytes", layer.bytes_after},
          {"diff_id", layer.diff_id_before.ToString()},
          {"converted_diff_id", layer.diff_id_after.ToString()},
          {"same_diff_id", layer.diff_id_before == layer.diff_id_after},
          {"entries", layer.entries},
          {"chunks", layer.chunks},
          {"reused", layer.reused}};
}

void PrintJson(const prepare::ConvertedImage& image, const std::string& reference) {
  Json layers = Json::array();
  for (const prepare::ConvertedImageLayer& layer : image.layers) {
    layers.push_back(LayerJson(layer));
  }
  Json result{{"image", reference},
              {"manifest", image.manifest.ToString()},
              {"config", image.config.ToString()}};
  if (!image.toc_tag.empty()) {
    result["toc_tag"] = image.toc_tag;
    result["toc_manifest"] = image.toc_manifest.ToString();
  }
  result["layers"] = std::move(layers);
  fmt::print("{}\n", result.dump(2));
}

void PrintText(const prepare::ConvertedImage& image, const std::string& reference) {
  for (const prepare::ConvertedImageLayer& layer : image.layers) {
    fmt::print("layer {}  {} -> {}  {}, {} entries, {} chunks{}\n",
               layer.before.hex().substr(0, kShortDigest), FormatBytes(layer.bytes_before),
               layer.after.hex().substr(0, kShortDigest), FormatBytes(layer.bytes_after),
               layer.entries, layer.chunks, layer.reused ? " (was there)" : "");
  }
  const auto changed = std::count_if(image.layers.begin(), image.layers.end(), [](const auto& l) {
    return l.diff_id_before != l.diff_id_after;
  });
  fmt::print("diff IDs: {} the same, {} changed{}\n",
             image.layers.size() - static_cast<size_t>(changed), changed,
             changed == 0 ? "" : " (the table of contents is an entry of the archive)");
  if (!image.toc_tag.empty()) {
    fmt::print("tables of contents {} ({})\n", image.toc_tag, image.toc_manifest.ToString());
  }
  fmt::print("image {} ({})\n", reference, image.manifest.ToString());
}

// A client that speaks plain HTTP to both registries where --plain-http says so.
Result<std::unique_ptr<fetcher::RegistryClient>> MakeClient(const GlobalOptions& global,
                                                            const fetcher::Reference& source,
                                                            const fetcher::Reference& target) {
  GlobalOptions both = global;
  if (both.plain_http_all) {
    both.plain_http.push_back(source.repository.registry);
  }
  return MakeRegistryClient(both, target.repository.registry);
}

Result<SeekableFormat> FormatOf(const ConvertCommandOptions& options) {
  if (options.format == "estargz") {
    return options.external_toc ? SeekableFormat::kEStargzExternalToc : SeekableFormat::kEStargz;
  }
  return options.external_toc
             ? Result<SeekableFormat>(InvalidArgument("--external-toc is for --format estargz"))
             : SeekableFormat::kZstdChunked;
}

Result<void> RunConvert(const GlobalOptions& global, const ConvertCommandOptions& options) {
  prepare::ConvertImageOptions convert = options.convert;
  FLOE_ASSIGN_OR_RETURN(convert.layer.seekable.format, FormatOf(options));
  convert.layer.seekable.annotations =
      options.annotations == "podman" ? ZstdAnnotations::kPodman : ZstdAnnotations::kStargz;
  FLOE_ASSIGN_OR_RETURN(const ImageSource::Target source, options.image.Locate(global));
  FLOE_ASSIGN_OR_RETURN(const fetcher::Reference target,
                        fetcher::Reference::Parse(options.new_reference));
  FLOE_ASSIGN_OR_RETURN(const auto client, MakeClient(global, source.reference, target));
  FLOE_ASSIGN_OR_RETURN(const prepare::ResolvedImage image,
                        prepare::ResolveImage(*client, source.reference, std::nullopt,
                                              source.platform, Deadline::Infinite()));
  prepare::ConvertedImage converted;
  {
    ProgressBars bars(LayerLabels(image));
    FLOE_ASSIGN_OR_RETURN(converted, prepare::ConvertImage(
                                         *client, image, target, convert,
                                         [&](const prepare::Progress& progress) {
                                           bars.Update(progress.layer, progress.bytes_done,
                                                       progress.bytes_total);
                                         },
                                         Deadline::Infinite()));
  }
  (global.json ? PrintJson : PrintText)(converted, target.ToString());
  return Ok();
}

void AddSeekableOptions(CLI::App& command, ConvertCommandOptions& options) {
  image::SeekableOptions& seekable = options.convert.layer.seekable;
  command.add_option("--format", options.format, "What the layers become")
      ->check(CLI::IsMember({"zstdchunked", "estargz"}))
      ->capture_default_str();
  command.add_flag("--external-toc", options.external_toc,
                   "estargz: keep the diff IDs, with the tables of contents in NEWREF-esgztoc");
  command
      .add_option("--annotations", options.annotations,
                  "zstdchunked: whose lazy reader can use the layers, beside Floe")
      ->check(CLI::IsMember({"stargz", "podman"}))
      ->capture_default_str();
  command.add_option("--chunk-size", seekable.chunk_bytes, "Bytes of a chunk of a large file")
      ->check(CLI::Range(uint64_t{4096}, uint64_t{64} << 20U))
      ->capture_default_str();
  command.add_option("--level", seekable.level, "Of compression: zstd 1-19 (3), gzip 1-9 (6)")
      ->check(CLI::Range(1, 19));
}

}  // namespace

void AddConvertCommand(CLI::App& app, GlobalOptions& global, Selection& selection) {
  CLI::App* command = app.add_subcommand(
      "convert", "Write an image anew with layers that can be read at random, and push it");
  const auto options = std::make_shared<ConvertCommandOptions>();
  options->image.AddTo(*command);
  command->add_option("newref", options->new_reference, "Where the converted image goes")
      ->required()
      ->type_name("NEWREF");
  AddSeekableOptions(*command, *options);
  command
      ->add_option("--temp-dir", options->convert.temporary_directory,
                   "Directory for the converted layers until they are pushed")
      ->check(CLI::ExistingDirectory)
      ->capture_default_str();
  command->callback([options, &global, &selection] {
    selection.body = [options, &global] { return RunConvert(global, *options); };
  });
}

}  // namespace floe::cli
