#include "image/stargz/toc_json.h"

#include <array>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/quote.h"
#include "image/stargz/toc_position.h"

namespace floe::image {
namespace {

using nlohmann::json;

constexpr size_t kMaxDepth = 16;
// An entry takes some hundred bytes in memory, and no image comes near.
constexpr uint64_t kMaxEntries = 4U << 20U;

struct StringField {
  std::string_view key;
  std::string TocRecord::* member;
};
constexpr std::array<StringField, 7> kStrings = {{{"name", &TocRecord::name},
                                                  {"type", &TocRecord::type},
                                                  {"modtime", &TocRecord::modtime},
                                                  {"linkName", &TocRecord::link_name},
                                                  {"digest", &TocRecord::digest},
                                                  {"chunkDigest", &TocRecord::chunk_digest},
                                                  {"chunkType", &TocRecord::chunk_type}}};
struct NumberField {
  std::string_view key;
  int64_t TocRecord::* member;
};
constexpr std::array<NumberField, 11> kNumbers = {{{"size", &TocRecord::size},
                                                   {"mode", &TocRecord::mode},
                                                   {"uid", &TocRecord::uid},
                                                   {"gid", &TocRecord::gid},
                                                   {"devMajor", &TocRecord::dev_major},
                                                   {"devMinor", &TocRecord::dev_minor},
                                                   {"offset", &TocRecord::offset},
                                                   {"innerOffset", &TocRecord::inner_offset},
                                                   {"endOffset", &TocRecord::end_offset},
                                                   {"chunkOffset", &TocRecord::chunk_offset},
                                                   {"chunkSize", &TocRecord::chunk_size}}};
constexpr std::string_view kXattrsKey = "xattrs";

template <typename Field, size_t N>
const Field* FindField(const std::array<Field, N>& fields, std::string_view key) {
  for (const Field& field : fields) {
    if (field.key == key) {
      return &field;
    }
  }
  return nullptr;
}

bool IsKnownKey(std::string_view key) {
  return FindField(kStrings, key) != nullptr || FindField(kNumbers, key) != nullptr ||
         key == kXattrsKey;
}

// The events of nlohmann's parser; a function that returns false ends the parsing, and error_ says
// why.
class TocSax final : public nlohmann::json_sax<json> {
 public:
  explicit TocSax(const TocRecordSink& sink) : sink_(sink) {}

  Result<void> Finish(bool parsed) {
    if (error_) {
      return *std::move(error_);
    }
    if (!parsed || !has_entries_) {
      return InvalidArgument("its table of contents is {}", parsed ? "without entries" : "no JSON");
    }
    return Ok();
  }

  bool null() override;
  bool boolean(bool) override { return WrongType(); }
  bool number_integer(number_integer_t value) override { return Number(value); }
  bool number_unsigned(number_unsigned_t value) override;
  bool number_float(number_float_t, const string_t&) override { return WrongType(); }
  bool string(string_t& value) override;
  bool binary(binary_t&) override { return WrongType(); }
  bool start_object(size_t) override;
  bool key(string_t& value) override;
  bool end_object() override;
  bool start_array(size_t) override;
  bool end_array() override;
  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception&) override;

 private:
  /// What the parser is inside of.
  enum class Place : uint8_t { kRoot, kEntries, kEntry, kXattrs, kSkipped };

  [[nodiscard]] bool IsIn(Place place) const { return !places_.empty() && places_.back() == place; }
  bool Number(int64_t value);
  /// A value that is no string, number or null where only such a one may be.
  bool WrongType();
  bool Enter(Place place);
  bool Fail(Error error);
  [[nodiscard]] std::string Where() const { return fmt::format("entry {}", count_); }

  const TocRecordSink& sink_;
  std::vector<Place> places_;
  std::string key_;
  TocRecord record_;
  uint64_t count_ = 0;  ///< Of the entries that are complete.
  bool has_entries_ = false;
  std::optional<Error> error_;
};

bool TocSax::Fail(Error error) {
  error_ = std::move(error);
  return false;
}

bool TocSax::WrongType() {
  if (places_.empty() || IsIn(Place::kEntries)) {
    return Fail(InvalidArgument("its table of contents: {} is not an object",
                                places_.empty() ? "the document" : Where()));
  }
  if (IsIn(Place::kXattrs) || (IsIn(Place::kEntry) && IsKnownKey(key_))) {
    return Fail(InvalidArgument("its table of contents: {}: {} has a value of the wrong type",
                                Where(), Quote(key_)));
  }
  if (IsIn(Place::kRoot) && (key_ == "entries" || key_ == "version")) {
    return Fail(InvalidArgument("its table of contents: {} is of the wrong type", key_));
  }
  return true;
}

bool TocSax::Number(int64_t value) {
  if (IsIn(Place::kRoot) && key_ == "version") {
    return value == 1 || Fail(Unimplemented("its table of contents has version {}, not 1", value));
  }
  if (const auto* field = IsIn(Place::kEntry) ? FindField(kNumbers, key_) : nullptr) {
    record_.*field->member = value;
    return true;
  }
  return WrongType();
}

bool TocSax::number_unsigned(number_unsigned_t value) {
  return value <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())
             ? Number(static_cast<int64_t>(value))
             : WrongType();
}

bool TocSax::string(string_t& value) {
  if (IsIn(Place::kXattrs)) {
    record_.xattrs.insert_or_assign(key_, std::move(value));
    return true;
  }
  if (const auto* field = IsIn(Place::kEntry) ? FindField(kStrings, key_) : nullptr) {
    record_.*field->member = std::move(value);
    return true;
  }
  return WrongType();
}

// What Go writes for a time or a list that is not set, and reads as nothing at all.
bool TocSax::null() {
  if (places_.empty() || IsIn(Place::kEntries)) {
    return WrongType();
  }
  has_entries_ = has_entries_ || (IsIn(Place::kRoot) && key_ == "entries");
  if (IsIn(Place::kXattrs)) {
    record_.xattrs.insert_or_assign(key_, std::string());
  }
  return true;
}

bool TocSax::Enter(Place place) {
  if (places_.size() == kMaxDepth) {
    return Fail(InvalidArgument("its table of contents: {}: nested too deeply", Where()));
  }
  places_.push_back(place);
  return true;
}

bool TocSax::start_object(size_t) {
  if (places_.empty()) {
    return Enter(Place::kRoot);
  }
  if (IsIn(Place::kEntries)) {
    record_ = {};
    return Enter(Place::kEntry);
  }
  if (IsIn(Place::kEntry) && key_ == kXattrsKey) {
    return Enter(Place::kXattrs);
  }
  return WrongType() && Enter(Place::kSkipped);
}

bool TocSax::start_array(size_t) {
  if (!IsIn(Place::kRoot) || key_ != "entries") {
    return WrongType() && Enter(Place::kSkipped);
  }
  if (has_entries_) {
    return Fail(InvalidArgument("its table of contents has entries twice"));
  }
  has_entries_ = true;
  return Enter(Place::kEntries);
}

bool TocSax::key(string_t& value) {
  key_ = std::move(value);
  return true;
}

bool TocSax::end_object() {
  const Place ended = places_.back();
  places_.pop_back();
  if (ended != Place::kEntry) {
    return true;
  }
  if (count_ == kMaxEntries) {
    return Fail(ResourceExhausted("its table of contents has more than {} entries", kMaxEntries));
  }
  if (Result<void> result = sink_(record_); !result.has_value()) {
    return Fail(WithContext(std::move(result).error(),
                            "its table of contents: " + Where() + " " + Quote(record_.name)));
  }
  ++count_;
  return true;
}

bool TocSax::end_array() {
  places_.pop_back();
  return true;
}

bool TocSax::parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) {
  return Fail(InvalidArgument("its table of contents is no JSON at byte {}", position));
}

}  // namespace

Result<void> ReadTocJson(std::string_view text, const TocRecordSink& sink) {
  if (text.size() > kMaxTocBytes) {
    return ResourceExhausted("its table of contents has {} bytes, at most {}", text.size(),
                             kMaxTocBytes);
  }
  TocSax sax(sink);
  const bool parsed = json::sax_parse(text.begin(), text.end(), &sax);
  return sax.Finish(parsed);
}

}  // namespace floe::image
