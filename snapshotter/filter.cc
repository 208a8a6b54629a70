#include "snapshotter/filter.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <re2/re2.h>

#include "snapshotter/filter_quote.h"

namespace floe::snapshotter {
namespace {

bool IsFieldCharacter(char c) {
  return c == '_' || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}
bool IsQuote(char c) { return c == '"' || c == '/' || c == '|'; }
bool IsOperatorCharacter(char c) { return c == '=' || c == '!' || c == '~'; }

// What Go's unicode.IsSpace holds to be space.
bool IsSpace(char32_t rune) {
  return (rune >= 0x09 && rune <= 0x0d) || rune == ' ' || rune == 0x85 || rune == 0xa0 ||
         rune == 0x1680 || (rune >= 0x2000 && rune <= 0x200a) || rune == 0x2028 || rune == 0x2029 ||
         rune == 0x202f || rune == 0x205f || rune == 0x3000;
}
bool IsControl(char32_t rune) { return rune < 0x20 || (rune >= 0x7f && rune < 0xa0); }

const char* KindName(Kind kind) {
  switch (kind) {
    case Kind::kView:
      return "view";
    case Kind::kActive:
      return "active";
    case Kind::kCommitted:
      return "committed";
  }
  return "";
}

// A label's key may hold dots that stand unquoted in the path.
std::string JoinFrom(const std::vector<std::string>& path, size_t first) {
  std::string joined;
  for (size_t i = first; i < path.size(); ++i) {
    joined += (i == first ? "" : ".") + path[i];
  }
  return joined;
}

std::optional<std::string> FieldOf(const Info& snapshot, const std::vector<std::string>& path) {
  if (path[0] == "name") {
    return snapshot.name;
  }
  if (path[0] == "parent") {
    return snapshot.parent;
  }
  if (path[0] == "kind") {
    return KindName(snapshot.kind);
  }
  if (path[0] == "labels") {
    const auto label = snapshot.labels.find(JoinFrom(path, 1));
    if (label != snapshot.labels.end()) {
      return label->second;
    }
  }
  return std::nullopt;
}

}  // namespace

/// Recursive descent over one filter; there is nothing to recurse into.
class FilterParser {
 public:
  explicit FilterParser(std::string_view text) : text_(text) {}

  Result<Filter::All> Parse() {
    Filter::All selectors;
    while (true) {
      FLOE_ASSIGN_OR_RETURN(Filter::Selector selector, ParseSelector());
      selectors.push_back(std::move(selector));
      SkipSpace();
      if (AtEnd()) {
        return selectors;
      }
      if (text_[at_] != ',') {
        return Unexpected("a comma");
      }
      ++at_;
    }
  }

 private:
  Result<Filter::Selector> ParseSelector() {
    Filter::Selector selector;
    FLOE_ASSIGN_OR_RETURN(selector.path, ParsePath());
    SkipSpace();
    if (AtEnd() || text_[at_] == ',') {
      return selector;
    }
    FLOE_ASSIGN_OR_RETURN(selector.op, ParseOperator());
    SkipSpace();
    FLOE_ASSIGN_OR_RETURN(selector.value, ParseValue(selector.op));
    if (selector.op == Filter::Operator::kMatches) {
      FLOE_RETURN_IF_ERROR(Compile(selector));
    }
    return selector;
  }

  Result<std::vector<std::string>> ParsePath() {
    std::vector<std::string> path;
    while (true) {
      SkipSpace();
      FLOE_ASSIGN_OR_RETURN(std::string field, ParseField());
      path.push_back(std::move(field));
      if (AtEnd() || text_[at_] != '.') {
        return path;
      }
      ++at_;
    }
  }

  Result<std::string> ParseField() {
    if (!AtEnd() && text_[at_] == '"') {
      return ParseQuoted();
    }
    const size_t start = at_;
    while (!AtEnd() && IsFieldCharacter(text_[at_])) {
      ++at_;
    }
    if (at_ == start) {
      return Unexpected("a field");
    }
    return std::string(text_.substr(start, at_ - start));
  }

  Result<Filter::Operator> ParseOperator() {
    const size_t start = at_;
    while (!AtEnd() && IsOperatorCharacter(text_[at_])) {
      ++at_;
    }
    const std::string_view name = text_.substr(start, at_ - start);
    if (name == "==") {
      return Filter::Operator::kEqual;
    }
    if (name == "!=") {
      return Filter::Operator::kNotEqual;
    }
    if (name == "~=") {
      return Filter::Operator::kMatches;
    }
    at_ = start;
    return Unexpected("one of == != ~=");
  }

  Result<std::string> ParseValue(Filter::Operator op) {
    if (!AtEnd() && IsQuote(text_[at_])) {
      if (text_[at_] != '"' && op != Filter::Operator::kMatches) {
        return Unexpected("a value in double quotes");
      }
      return ParseQuoted();
    }
    if (!AtEnd() && (text_[at_] == '.' || IsOperatorCharacter(text_[at_]))) {
      return Unexpected("a value");
    }
    const size_t start = at_;
    while (!AtEnd() && text_[at_] != ',') {
      const auto rune = DecodeRune(text_.substr(at_));
      if (!rune || IsControl(rune->value) || IsSpace(rune->value)) {
        break;
      }
      at_ += rune->bytes;
    }
    if (at_ == start) {
      return Unexpected("a value");
    }
    return std::string(text_.substr(start, at_ - start));
  }

  Result<std::string> ParseQuoted() {
    size_t consumed = 0;
    auto value = Unquote(text_.substr(at_), consumed);
    if (!value) {
      return Unexpected("a quoted string that ends and has only known escapes");
    }
    at_ += consumed;
    return std::move(*value);
  }

  Result<void> Compile(Filter::Selector& selector) {
    re2::RE2::Options options;
    options.set_log_errors(false);
    selector.expression = std::make_unique<re2::RE2>(selector.value, options);
    if (!selector.expression->ok()) {
      return InvalidArgument("filter [{}]: {}", Shown(text_), Shown(selector.expression->error()));
    }
    return Ok();
  }

  void SkipSpace() {
    while (!AtEnd()) {
      const auto rune = DecodeRune(text_.substr(at_));
      if (!rune || !IsSpace(rune->value)) {
        return;
      }
      at_ += rune->bytes;
    }
  }

  [[nodiscard]] bool AtEnd() const { return at_ >= text_.size(); }

  [[nodiscard]] Error Unexpected(std::string_view wanted) const {
    return InvalidArgument("filter [{} >|{}|<]: expected {}", Shown(text_.substr(0, at_)),
                           Shown(text_.substr(at_)), wanted);
  }

  // For messages: one line, printable, short.
  static std::string Shown(std::string_view text) {
    constexpr size_t kMaxShownBytes = 200;
    std::string shown(text.substr(0, kMaxShownBytes));
    std::replace_if(shown.begin(), shown.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
    return shown;
  }

  const std::string_view text_;
  size_t at_ = 0;
};

Filter::Filter() = default;
Filter::Filter(Filter&&) noexcept = default;
Filter& Filter::operator=(Filter&&) noexcept = default;
Filter::~Filter() = default;

Result<Filter> Filter::Parse(const std::vector<std::string>& filters) {
  Filter result;
  for (const std::string& text : filters) {
    All all;
    if (!text.empty()) {
      FLOE_ASSIGN_OR_RETURN(all, FilterParser(text).Parse());
    }
    result.any_.push_back(std::move(all));
  }
  return result;
}

bool Filter::Matches(const Info& snapshot) const {
  return any_.empty() || std::any_of(any_.begin(), any_.end(), [&](const All& all) {
           return std::all_of(all.begin(), all.end(),
                              [&](const Selector& selector) { return Holds(selector, snapshot); });
         });
}

bool Filter::Holds(const Selector& selector, const Info& snapshot) {
  const std::optional<std::string> value = FieldOf(snapshot, selector.path);
  switch (selector.op) {
    case Operator::kPresent:
      return value.has_value();
    case Operator::kEqual:
      return value == selector.value;
    case Operator::kNotEqual:
      return value.value_or("") != selector.value;
    case Operator::kMatches:
      return re2::RE2::PartialMatch(value.value_or(""), *selector.expression);
  }
  return false;
}

}  // namespace floe::snapshotter
