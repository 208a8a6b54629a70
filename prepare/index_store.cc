#include "prepare/index_store.h"

#include <system_error>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/log.h"
#include "image/index_codec.h"

namespace floe::prepare {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kMaxRecordBytes = 16384;
constexpr size_t kMaxReasonBytes = 1024;
constexpr size_t kScopeHexDigits = 32;
constexpr std::string_view kLocal = "local", kBound = "bound-", kRepository = "repository-";

// {"tree": digest, "index_manifest": digest?, "windows": {"digest":, "size":}?, "reader": text?,
//  "why_not": text?, "local_windows": true?}
std::string WriteRecord(const StoredTree& tree) {
  Json record{{"tree", Digest::Of(tree.bytes).ToString()}};
  if (!tree.index_manifest.IsZero()) {
    record["index_manifest"] = tree.index_manifest.ToString();
  }
  if (tree.windows) {
    record["windows"] = {{"digest", tree.windows->digest.ToString()},
                         {"size", tree.windows->size_bytes}};
  }
  if (tree.reader != kFloeIndexReader) {
    record["reader"] = tree.reader;
  }
  if (!tree.why_not.empty()) {
    record["why_not"] = tree.why_not.substr(0, kMaxReasonBytes);
  }
  if (tree.local_windows) {
    record["local_windows"] = true;
  }
  return record.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<Digest> DigestField(const Json& object, const char* name) {
  auto field = object.find(name);
  if (field == object.end() || !field->is_string()) {
    return InvalidArgument("no {}", name);
  }
  return Digest::Parse(field->get<std::string>());
}

std::string TextField(const Json& object, const char* name, std::string_view otherwise) {
  auto field = object.find(name);
  return field != object.end() && field->is_string() ? field->get<std::string>()
                                                     : std::string(otherwise);
}

// The record's fields into `tree`; the digest that the tree's bytes must have.
Result<Digest> ReadRecord(const std::string& text, StoredTree& tree) {
  Json record = Json::parse(text, nullptr, false);
  if (!record.is_object()) {
    return InvalidArgument("not a JSON object");
  }
  FLOE_ASSIGN_OR_RETURN(Digest digest, DigestField(record, "tree"));
  if (record.contains("index_manifest")) {
    FLOE_ASSIGN_OR_RETURN(tree.index_manifest, DigestField(record, "index_manifest"));
  }
  if (record.contains("windows")) {
    const Json& windows = record["windows"];
    if (!windows.is_object() || !windows.contains("size") ||
        !windows["size"].is_number_unsigned()) {
      return InvalidArgument("bad windows");
    }
    ArtifactObject object;
    FLOE_ASSIGN_OR_RETURN(object.digest, DigestField(windows, "digest"));
    object.size_bytes = windows["size"].get<uint64_t>();
    tree.windows = object;
  }
  tree.reader = TextField(record, "reader", kFloeIndexReader);
  tree.why_not = TextField(record, "why_not", "");
  tree.local_windows = record.contains("local_windows");
  return digest;
}

Result<StoredTree> ReadEntry(const std::filesystem::path& stem) {
  StoredTree tree;
  FLOE_ASSIGN_OR_RETURN(std::string record, ReadFile(stem.native() + ".json", kMaxRecordBytes));
  FLOE_ASSIGN_OR_RETURN(Digest digest, ReadRecord(record, tree));
  FLOE_ASSIGN_OR_RETURN(tree.bytes,
                        ReadFile(stem.native() + ".tree", image::kMaxEncodedIndexBytes));
  if (Digest::Of(tree.bytes) != digest) {
    return DataLoss("the tree's digest does not match its record");
  }
  return tree;
}

}  // namespace

std::string IndexStore::RepositoryScope(const fetcher::Repository& repository) {
  return std::string(kRepository) +
         Digest::Of(repository.ToString()).hex().substr(0, kScopeHexDigits);
}

std::string IndexStore::ForeignScope(const fetcher::Repository& repository,
                                     std::string_view reader) {
  return fmt::format("{}-{}", RepositoryScope(repository), reader);
}

std::string IndexStore::BoundScope(const Digest& index) {
  return std::string(kBound) + index.hex();
}

image::IndexOrigin IndexStore::OriginOf(std::string_view scope) {
  if (scope == kLocal) {
    return image::IndexOrigin::kLocal;
  }
  return scope.starts_with(kBound) ? image::IndexOrigin::kBound : image::IndexOrigin::kRepository;
}

std::filesystem::path IndexStore::windows_directory() const {
  return root_.empty() ? root_ : root_ / "windows";
}

bool IndexStore::HasWindows(const Digest& digest) const {
  std::error_code ignored;
  return !root_.empty() && std::filesystem::exists(windows_directory() / digest.hex(), ignored);
}

Result<void> IndexStore::PutWindows(std::string_view bytes) const {
  const Digest digest = Digest::Of(bytes);
  if (root_.empty() || HasWindows(digest)) {
    return Ok();
  }
  FLOE_RETURN_IF_ERROR(CreateDirectories(windows_directory()));
  return WriteFileAtomically(windows_directory() / digest.hex(), bytes);
}

std::filesystem::path IndexStore::Stem(const std::string& scope, const Digest& layer) const {
  return root_ / scope / layer.hex();
}

bool IndexStore::Has(const std::string& scope, const Digest& layer) const {
  std::error_code ignored;
  return !root_.empty() && std::filesystem::exists(Stem(scope, layer).native() + ".json", ignored);
}

Result<StoredTree> IndexStore::Get(const std::string& scope, const Digest& layer) const {
  if (root_.empty()) {
    return NotFound("no store");
  }
  auto entry = ReadEntry(Stem(scope, layer));
  if (entry && entry->local_windows) {
    const ArtifactObject windows = entry->windows.value_or(ArtifactObject{});
    if (!HasWindows(windows.digest)) {
      entry = DataLoss("its windows are gone");
    }
  }
  if (entry) {
    return entry;
  }
  if (entry.error().code != ErrorCode::kNotFound) {
    LogWarning("stored index ignored layer={} scope={} reason=\"{}\"", layer.ToString(), scope,
               entry.error().message);
  }
  return NotFound("no stored index of layer {}", layer.ToString());
}

Result<void> IndexStore::Put(const std::string& scope, const Digest& layer,
                             const StoredTree& tree) const {
  if (root_.empty()) {
    return Ok();
  }
  std::filesystem::path stem = Stem(scope, layer);
  FLOE_RETURN_IF_ERROR(CreateDirectories(stem.parent_path()));
  // The record stands last: without it the tree does not count.
  FLOE_RETURN_IF_ERROR(WriteFileAtomically(stem.native() + ".tree", tree.bytes));
  return WriteFileAtomically(stem.native() + ".json", WriteRecord(tree));
}

}  // namespace floe::prepare
