#include "cli/status.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/progress.h"

namespace floe::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kShortDigest = 19;  // "sha256:" and 12 digits, enough to tell blobs apart.

uint64_t Misses(const cachemgr::v1::Counters& counters) {
  return counters.reads_joined() + counters.reads_filled() + counters.reads_failed();
}

Json LayersJson(const cachemgr::v1::MountStatus& mount) {
  Json layers = Json::array();
  for (const auto& layer : mount.layers()) {
    layers.push_back({{"digest", layer.digest()},
                      {"reader", layer.reader()},
                      {"origin", layer.origin()},
                      {"why_not", layer.why_not()}});
  }
  return layers;
}

/// What registries say goes into notes: one line each, whatever it holds.
std::string Printable(std::string text) {
  std::ranges::replace_if(text, [](char c) { return (c >= 0 && c < ' ') || c == '\x7F'; }, '?');
  return text;
}

std::string LayerText(const cachemgr::v1::LayerNote& layer) {
  return fmt::format("    {}  {}  {}{}{}\n", Printable(layer.digest().substr(0, kShortDigest)),
                     Printable(layer.reader()), Printable(layer.origin()),
                     layer.why_not().empty() ? "" : "  not better: ", Printable(layer.why_not()));
}

Json MountsJson(const cachemgr::v1::StatusReply& status) {
  Json mounts = Json::array();
  for (const auto& mount : status.mounts()) {
    mounts.push_back(
        {{"id", mount.id()},
         {"target", mount.target()},
         {"channel", mount.channel()},
         {"keys", Json(std::vector<std::string>(mount.keys().begin(), mount.keys().end()))},
         {"live", mount.live()},
         {"lost", mount.lost()},
         {"detached", mount.detached()},
         {"layers", LayersJson(mount)}});
  }
  return mounts;
}

Json BlobsJson(const cachemgr::v1::StatusReply& status) {
  Json blobs = Json::array();
  for (const auto& blob : status.blobs()) {
    blobs.push_back({{"key", blob.key()},
                     {"blob_digest", blob.blob_digest()},
                     {"device_bytes", blob.device_bytes()},
                     {"present_bytes", blob.present_bytes()},
                     {"disk_bytes", blob.disk_bytes()},
                     {"blob_bytes", blob.blob_bytes()},
                     {"fetched_bytes", blob.fetched_bytes()},
                     {"mounts", blob.mounts()},
                     {"complete", blob.complete()}});
  }
  return blobs;
}

using FaultCounts = google::protobuf::Map<std::string, cachemgr::v1::FaultCount>;

Json FaultsJson(const FaultCounts& faults) {
  const std::map<std::string, cachemgr::v1::FaultCount> sorted(faults.begin(), faults.end());
  Json json = Json::object();
  for (const auto& [kind, count] : sorted) {
    json[kind] = {{"all", count.all()}, {"retried", count.retried()}};
  }
  return json;
}

/// "3 server_error (2 retried), 1 timed_out"; empty when there are none.
std::string FaultsText(const FaultCounts& faults) {
  const std::map<std::string, cachemgr::v1::FaultCount> sorted(faults.begin(), faults.end());
  std::string text;
  for (const auto& [kind, count] : sorted) {
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count.all(), kind);
    if (count.retried() > 0) {
      text += fmt::format(" ({} retried)", count.retried());
    }
  }
  return text;
}

Json CountersJson(const cachemgr::v1::Counters& counters) {
  return {{"reads_hit", counters.reads_hit()},
          {"reads_joined", counters.reads_joined()},
          {"reads_filled", counters.reads_filled()},
          {"reads_failed", counters.reads_failed()},
          {"fetched_bytes", counters.fetched_bytes()},
          {"registry_requests", counters.registry_requests()},
          {"integrity_errors", counters.integrity_errors()},
          {"network_faults", FaultsJson(counters.network_faults())},
          {"integrity_faults", FaultsJson(counters.integrity_faults())},
          {"reads_inflight", counters.reads_inflight()},
          {"kernel_opens", counters.kernel_opens()},
          {"kernel_opens_refused", counters.kernel_opens_refused()},
          {"kernel_reads", counters.kernel_reads()},
          {"kernel_closes", counters.kernel_closes()}};
}

Json CacheJson(const cachemgr::v1::CacheUsage& cache) {
  return {{"used_bytes", cache.used_bytes()},
          {"max_bytes", cache.max_bytes()},
          {"disk_free_bytes", cache.disk_free_bytes()},
          {"disk_total_bytes", cache.disk_total_bytes()},
          {"min_free_percent", cache.min_free_percent()},
          {"evicted_blobs", cache.evicted_blobs()},
          {"evicted_bytes", cache.evicted_bytes()}};
}

std::string CacheText(const cachemgr::v1::CacheUsage& cache) {
  return fmt::format(
      "cache: {} used{}, {} of {} free on its disk, {} blobs evicted ({})\n",
      FormatBytes(cache.used_bytes()),
      cache.max_bytes() == 0 ? "" : fmt::format(" of {} allowed", FormatBytes(cache.max_bytes())),
      FormatBytes(cache.disk_free_bytes()), FormatBytes(cache.disk_total_bytes()),
      cache.evicted_blobs(), FormatBytes(cache.evicted_bytes()));
}

std::string_view MountState(const cachemgr::v1::MountStatus& mount) {
  if (mount.lost()) {
    return "  LOST: may have read zeros; end its containers and mount it anew";
  }
  if (mount.detached()) {
    return "  detached, in use";
  }
  return mount.live() ? "" : "  DEAD";
}

unsigned Percent(uint64_t part, uint64_t whole) {
  return whole == 0 ? 100
                    : static_cast<unsigned>(static_cast<double>(part) * 100.0 /
                                            static_cast<double>(whole));
}

}  // namespace

std::string StatusJson(const cachemgr::v1::StatusReply& status) {
  const Json json = {{"version", status.version()},
                     {"channel", status.channel()},
                     {"root", status.root()},
                     {"keeper", status.keeper()},
                     {"mounts", MountsJson(status)},
                     {"blobs", BlobsJson(status)},
                     {"cache", CacheJson(status.cache())},
                     {"counters", CountersJson(status.counters())},
                     {"misses", Misses(status.counters())}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

std::string StatusText(const cachemgr::v1::StatusReply& status) {
  const auto& counters = status.counters();
  std::string text;
  auto out = std::back_inserter(text);
  fmt::format_to(out, "cache manager {}  channel {}  root {}  keeper {}\n", status.version(),
                 status.channel(), status.root(), status.keeper());
  fmt::format_to(out, "reads: {} hit, {} filled, {} joined, {} failed, {} in flight\n",
                 counters.reads_hit(), counters.reads_filled(), counters.reads_joined(),
                 counters.reads_failed(), counters.reads_inflight());
  fmt::format_to(out, "fetched: {} in {} requests, {} wrong answers\n",
                 FormatBytes(counters.fetched_bytes()), counters.registry_requests(),
                 counters.integrity_errors());
  if (const std::string faults = FaultsText(counters.network_faults()); !faults.empty()) {
    fmt::format_to(out, "network faults: {}\n", faults);
  }
  if (const std::string faults = FaultsText(counters.integrity_faults()); !faults.empty()) {
    fmt::format_to(out, "integrity faults: {}\n", faults);
  }
  text += CacheText(status.cache());
  fmt::format_to(out, "\nmounts: {}\n", status.mounts_size());
  for (const auto& mount : status.mounts()) {
    fmt::format_to(out, "  {}  {}  {}  blobs {}{}\n", mount.id(), mount.target(), mount.channel(),
                   mount.keys_size(), MountState(mount));
    for (const auto& layer : mount.layers()) {
      text += LayerText(layer);
    }
  }
  fmt::format_to(out, "\nblobs: {}\n", status.blobs_size());
  for (const auto& blob : status.blobs()) {
    fmt::format_to(out, "  {}  present {} of {} ({} %)  fetched {} of {}  mounts {}{}\n",
                   blob.blob_digest().substr(0, kShortDigest), FormatBytes(blob.present_bytes()),
                   FormatBytes(blob.device_bytes()),
                   Percent(blob.present_bytes(), blob.device_bytes()),
                   FormatBytes(blob.fetched_bytes()), FormatBytes(blob.blob_bytes()), blob.mounts(),
                   blob.complete() ? "  complete" : "");
  }
  return text;
}

}  // namespace floe::cli
