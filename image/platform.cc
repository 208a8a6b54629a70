#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/quote.h"
#include "image/manifest.h"

// Platforms of manifests: names, their synonyms, and which variant runs where.
namespace floe::image {
namespace {

struct Synonym {
  std::string_view name, architecture, variant;
};
// Other names of an architecture; an empty variant keeps the one that is given.
constexpr std::array<Synonym, 8> kSynonyms = {{{"x86_64", "amd64", ""},
                                               {"x86-64", "amd64", ""},
                                               {"i386", "386", ""},
                                               {"i686", "386", ""},
                                               {"aarch64", "arm64", ""},
                                               {"armhf", "arm", "v7"},
                                               {"armel", "arm", "v6"},
                                               {"armv7l", "arm", "v7"}}};

// Of `os.features`: what an image may ask for.
constexpr std::array<std::string_view, 1> kSupportedFeatures = {"erofs"};

constexpr unsigned kDefaultArmVariant = 7;
constexpr unsigned kDefaultArm64Variant = 8;
constexpr unsigned kDefaultAmd64Variant = 1;
constexpr unsigned kNoMatch = std::numeric_limits<unsigned>::max();

#if defined(__x86_64__)
constexpr std::string_view kHostArchitecture = "amd64";
#elif defined(__aarch64__)
constexpr std::string_view kHostArchitecture = "arm64";
#elif defined(__arm__)
constexpr std::string_view kHostArchitecture = "arm";
#elif defined(__i386__)
constexpr std::string_view kHostArchitecture = "386";
#elif defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
constexpr std::string_view kHostArchitecture = "ppc64le";
#elif defined(__s390x__)
constexpr std::string_view kHostArchitecture = "s390x";
#elif defined(__riscv)
constexpr std::string_view kHostArchitecture = "riscv64";
#elif defined(__loongarch64)
constexpr std::string_view kHostArchitecture = "loong64";
#else
constexpr std::string_view kHostArchitecture = "unknown";
#endif

std::string Lower(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower;
}

// "v7" and "7" are 7. Variants of architectures without an order, and minor versions: 0.
unsigned VariantNumber(std::string_view variant) {
  if (variant.starts_with('v')) {
    variant.remove_prefix(1);
  }
  const bool digit = variant.size() == 1 && variant[0] >= '1' && variant[0] <= '9';
  return digit ? static_cast<unsigned>(variant[0] - '0') : 0;
}

unsigned DefaultVariant(std::string_view architecture) {
  if (architecture == "arm") {
    return kDefaultArmVariant;
  }
  if (architecture == "arm64") {
    return kDefaultArm64Variant;
  }
  return architecture == "amd64" ? kDefaultAmd64Variant : 0;
}

Platform Normalised(const Platform& platform) {
  Platform result = platform;
  result.os = Lower(platform.os);
  result.architecture = Lower(platform.architecture);
  result.variant = Lower(platform.variant);
  for (const Synonym& synonym : kSynonyms) {
    if (result.architecture == synonym.name) {
      result.architecture = synonym.architecture;
      result.variant = synonym.variant.empty() ? result.variant : std::string(synonym.variant);
      break;
    }
  }
  return result;
}

// How far `offered` is below what `wanted` can run: 0 is exact, kNoMatch is not at all. Both are
// normalised. A processor runs the variants below its own.
unsigned VariantDistance(const Platform& wanted, const Platform& offered) {
  const unsigned fallback = DefaultVariant(wanted.architecture);
  if (fallback == 0) {
    return wanted.variant == offered.variant ? 0 : kNoMatch;
  }
  const unsigned have = offered.variant.empty() ? fallback : VariantNumber(offered.variant);
  const unsigned want = wanted.variant.empty() ? fallback : VariantNumber(wanted.variant);
  if (have == 0 || want == 0) {
    return wanted.variant == offered.variant ? 0 : kNoMatch;
  }
  return have <= want ? want - have : kNoMatch;
}

template <typename List>
bool Contains(const List& list, std::string_view text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

// How far `offered` is from `wanted`, nearest first: by variant, then by the wanted features that
// it lacks, then by those that nobody asked for.
struct Distance {
  unsigned variant = kNoMatch;
  size_t missing_features = 0;
  size_t other_features = 0;

  auto operator<=>(const Distance&) const = default;
};

Distance DistanceOf(const Platform& wanted, const Platform& offered) {
  const Platform have = Normalised(offered);
  const auto& features = have.os_features;
  if (have.os != wanted.os || have.architecture != wanted.architecture ||
      !std::all_of(features.begin(), features.end(), [](const std::string& feature) {
        return Contains(kSupportedFeatures, feature);
      })) {
    return {};
  }
  Distance distance{.variant = VariantDistance(wanted, have)};
  for (const std::string& feature : wanted.os_features) {
    distance.missing_features += Contains(features, feature) ? 0 : 1;
  }
  for (const std::string& feature : features) {
    distance.other_features += Contains(wanted.os_features, feature) ? 0 : 1;
  }
  return distance;
}

bool IsPart(std::string_view part) {
  return !part.empty() && std::all_of(part.begin(), part.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '.' || c == '-';
  });
}

std::vector<std::string> SplitAt(char separator, std::string_view text) {
  std::vector<std::string> parts;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(separator, at), text.size());
    parts.emplace_back(text.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

// Takes "(+a+b)" off the end of an os; empty when there is none.
std::vector<std::string> TakeFeatures(std::string& os) {
  const size_t open = os.find("(+");
  if (open == std::string::npos || !os.ends_with(')')) {
    return {};
  }
  const std::string list = os.substr(open + 2, os.size() - open - 3);
  os.resize(open);
  return SplitAt('+', list);
}

std::string WhatThereIs(const ImageIndex& index) {
  std::string list;
  for (const Descriptor& entry : index.manifests) {
    if (entry.platform.has_value() && entry.artifact_type.empty()) {
      list += (list.empty() ? "" : ", ") + entry.platform->ToString();
    }
  }
  return Quote(list);
}

}  // namespace

Platform Platform::Host() {
  Platform host;
  host.os = "linux";
  host.architecture = kHostArchitecture;
  if (host.architecture == "arm64") {
    host.variant = "v8";
  }
  utsname name = {};
  if (host.architecture == "arm" && ::uname(&name) == 0) {
    // "armv6l", "armv7l", "armv8l"; on "aarch64" the processor is v8.
    const std::string_view machine = name.machine;
    const bool numbered = machine.starts_with("armv") && machine.size() > 4;
    host.variant = numbered ? "v" + std::string(machine.substr(4, 1)) : "v8";
  }
  return host;
}

Result<Platform> Platform::Parse(std::string_view text) {
  std::vector<std::string> parts = SplitAt('/', text);
  std::vector<std::string> features = TakeFeatures(parts[0]);
  if (parts.size() < 2 || parts.size() > 3 || !std::all_of(parts.begin(), parts.end(), IsPart) ||
      !std::all_of(features.begin(), features.end(), IsPart)) {
    return InvalidArgument("platform {}: expected OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT",
                           Quote(text));
  }
  Platform platform;
  platform.os = parts[0];
  platform.os_features = std::move(features);
  platform.architecture = parts[1];
  platform.variant = parts.size() == 3 ? parts[2] : "";
  return Normalised(platform);
}

std::string Platform::ToString() const {
  std::string text = os;
  for (const std::string& feature : os_features) {
    text += (text == os ? "(+" : "+") + feature;
  }
  text += os_features.empty() ? "/" : ")/";
  text += architecture;
  return variant.empty() ? text : text + "/" + variant;
}

Result<Descriptor> ChoosePlatform(const ImageIndex& index, const Platform& wanted) {
  const Platform normalised = Normalised(wanted);
  const Descriptor* best = nullptr;
  const Descriptor* unnamed = nullptr;
  Distance best_distance;
  for (const Descriptor& entry : index.manifests) {
    if (!entry.artifact_type.empty()) {
      continue;
    }
    if (!entry.platform.has_value()) {
      unnamed = unnamed == nullptr ? &entry : unnamed;
      continue;
    }
    const Distance distance = DistanceOf(normalised, *entry.platform);
    if (distance.variant != kNoMatch && distance < best_distance) {
      best = &entry;
      best_distance = distance;
    }
  }
  best = best == nullptr ? unnamed : best;
  if (best == nullptr) {
    return NotFound("no manifest for {} in the index, which has {}", wanted.ToString(),
                    WhatThereIs(index));
  }
  return *best;
}

}  // namespace floe::image
