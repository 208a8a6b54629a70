#include "fetcher/reference.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "fetcher/http/url.h"

namespace floe::fetcher {
namespace {

constexpr std::string_view kDefaultRegistry = "docker.io";
constexpr std::string_view kDefaultTag = "latest";
constexpr std::string_view kOfficialPrefix = "library/";
// Both limits are those of the reference grammar.
constexpr size_t kMaxNameBytes = 255;
constexpr size_t kMaxTagBytes = 128;
constexpr size_t kMaxQuotedBytes = 300;

bool IsLowerAlnum(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool IsAlnum(char c) { return IsLowerAlnum(c) || (c >= 'A' && c <= 'Z'); }
bool IsWord(char c) { return IsAlnum(c) || c == '_'; }

/// Lower-case letters and digits, joined by one '.', one or two '_', or any number of '-'.
bool IsPathComponent(std::string_view text) {
  if (text.empty() || !IsLowerAlnum(text.front()) || !IsLowerAlnum(text.back())) {
    return false;
  }
  for (size_t i = 0; i < text.size();) {
    size_t start = i;
    while (i < text.size() && !IsLowerAlnum(text[i])) {
      ++i;
    }
    std::string_view joint = text.substr(start, i - start);
    bool dashes = joint.find_first_not_of('-') == joint.npos;
    if (!dashes && joint != "." && joint != "_" && joint != "__") {
      return false;
    }
    i += i < text.size() ? 1 : 0;
  }
  return true;
}

bool IsPath(std::string_view path) {
  for (;;) {
    size_t slash = path.find('/');
    if (!IsPathComponent(path.substr(0, slash))) {
      return false;
    }
    if (slash == path.npos) {
      return true;
    }
    path.remove_prefix(slash + 1);
  }
}

bool IsTag(std::string_view tag) {
  return !tag.empty() && tag.size() <= kMaxTagBytes && IsWord(tag.front()) &&
         std::all_of(tag.begin(), tag.end(),
                     [](char c) { return IsWord(c) || c == '.' || c == '-'; });
}

/// The first component names a registry when it cannot be part of a path on the default one.
bool LooksLikeRegistry(std::string_view component) {
  return component.find_first_of(".:[") != component.npos || component == "localhost" ||
         std::any_of(component.begin(), component.end(),
                     [](char c) { return c >= 'A' && c <= 'Z'; });
}

}  // namespace

Result<Reference> Reference::Parse(std::string_view text) {
  std::string_view whole = text.substr(0, kMaxQuotedBytes);
  Reference reference;
  size_t at = text.find('@');
  if (at != text.npos) {
    Result<Digest> digest = Digest::Parse(text.substr(at + 1));
    if (!digest) {
      return InvalidArgument("image reference '{}': {}", whole, digest.error().message);
    }
    reference.digest = *digest;
    text = text.substr(0, at);
  }
  size_t slash = text.rfind('/');
  size_t colon = text.rfind(':');
  bool has_registry_only_colon = slash != text.npos && colon != text.npos && colon < slash;
  if (colon != text.npos && !has_registry_only_colon) {
    reference.tag = text.substr(colon + 1);
    if (!IsTag(reference.tag)) {
      return InvalidArgument("image reference '{}': bad tag '{}'", whole,
                             reference.tag.substr(0, kMaxTagBytes));
    }
    text = text.substr(0, colon);
  }
  std::string_view first = text.substr(0, text.find('/'));
  if (first.size() < text.size() && LooksLikeRegistry(first)) {
    if (!IsHostPort(first)) {
      return InvalidArgument("image reference '{}': bad registry '{}'", whole, first);
    }
    reference.repository.registry = first == "index.docker.io" ? kDefaultRegistry : first;
    reference.repository.path = text.substr(first.size() + 1);
  } else {
    reference.repository.registry = kDefaultRegistry;
    reference.repository.path = text;
  }
  std::string& path = reference.repository.path;
  if (!IsPath(path)) {
    return InvalidArgument("image reference '{}': bad repository path '{}'", whole, path);
  }
  if (reference.repository.registry == kDefaultRegistry && path.find('/') == path.npos) {
    path.insert(0, kOfficialPrefix);
  }
  if (reference.repository.ToString().size() > kMaxNameBytes) {
    return InvalidArgument("image reference '{}': longer than {} bytes", whole, kMaxNameBytes);
  }
  if (reference.tag.empty() && !reference.digest) {
    reference.tag = kDefaultTag;
  }
  return reference;
}

std::string Reference::ToString() const {
  std::string text = repository.ToString();
  if (!tag.empty()) {
    text += ":" + tag;
  }
  if (digest) {
    text += "@" + digest->ToString();
  }
  return text;
}

std::string Reference::ManifestName() const { return digest ? digest->ToString() : tag; }

}  // namespace floe::fetcher
