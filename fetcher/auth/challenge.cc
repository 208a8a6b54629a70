#include "fetcher/auth/challenge.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <utility>

namespace floe::fetcher {
namespace {

// A header that goes beyond these is hostile.
constexpr size_t kMaxHeaderBytes = 16384;
constexpr size_t kMaxChallenges = 16;
constexpr size_t kMaxParams = 32;

bool IsTokenChar(char c) {
  constexpr std::string_view kOthers = "!#$%&'*+-.^_`|~";
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || kOthers.find(c) != kOthers.npos;
}

class Scanner {
 public:
  explicit Scanner(std::string_view text) : rest_(text) {}

  [[nodiscard]] bool done() const { return rest_.empty(); }
  [[nodiscard]] char peek() const { return rest_.empty() ? '\0' : rest_.front(); }

  /// Whitespace and, with `commas`, empty list elements.
  bool Skip(bool commas) {
    size_t count = std::min(rest_.find_first_not_of(commas ? " \t," : " \t"), rest_.size());
    rest_.remove_prefix(count);
    return count > 0;
  }

  bool Take(char expected) {
    if (peek() != expected || rest_.empty()) {
      return false;
    }
    rest_.remove_prefix(1);
    return true;
  }

  /// Lower case; empty when there is no token here.
  std::string Token() {
    auto end = std::find_if_not(rest_.begin(), rest_.end(), IsTokenChar);
    std::string token = Raw(static_cast<size_t>(end - rest_.begin()));
    std::transform(token.begin(), token.end(), token.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return token;
  }

  std::optional<std::string> Value() {
    if (!Take('"')) {
      auto end = std::find_if_not(rest_.begin(), rest_.end(), IsTokenChar);
      std::string value = Raw(static_cast<size_t>(end - rest_.begin()));
      return value.empty() ? std::nullopt : std::optional(std::move(value));
    }
    std::string value;
    while (!rest_.empty()) {
      char c = rest_.front();
      rest_.remove_prefix(1);
      if (c == '"') {
        return value;
      }
      if (c == '\\' && !rest_.empty()) {
        c = rest_.front();
        rest_.remove_prefix(1);
      }
      value.push_back(c);
    }
    return std::nullopt;
  }

  [[nodiscard]] std::string_view rest() const { return rest_; }
  void Restore(std::string_view rest) { rest_ = rest; }

 private:
  std::string Raw(size_t count) {
    std::string text(rest_.substr(0, count));
    rest_.remove_prefix(count);
    return text;
  }

  std::string_view rest_;
};

/// name=value, if the next thing is one; else nothing is consumed.
std::optional<std::pair<std::string, std::string>> TakeParam(Scanner& scanner) {
  std::string_view before = scanner.rest();
  std::string name = scanner.Token();
  scanner.Skip(false);
  if (!name.empty() && scanner.Take('=')) {
    scanner.Skip(false);
    if (std::optional<std::string> value = scanner.Value()) {
      return std::pair(std::move(name), *std::move(value));
    }
  }
  scanner.Restore(before);
  return std::nullopt;
}

}  // namespace

std::string Challenge::Param(const std::string& name) const {
  auto found = params.find(name);
  return found == params.end() ? "" : found->second;
}

std::vector<Challenge> ParseChallenges(std::string_view header) {
  std::vector<Challenge> challenges;
  Scanner scanner(header.substr(0, kMaxHeaderBytes));
  scanner.Skip(true);
  while (!scanner.done() && challenges.size() < kMaxChallenges) {
    Challenge challenge;
    challenge.scheme = scanner.Token();
    if (challenge.scheme.empty() || (!scanner.Skip(false) && scanner.peek() == '=')) {
      break;
    }
    while (challenge.params.size() < kMaxParams) {
      auto param = TakeParam(scanner);
      if (!param) {
        break;
      }
      challenge.params.insert(*std::move(param));
      scanner.Skip(true);
    }
    challenges.push_back(std::move(challenge));
    scanner.Skip(true);
  }
  return challenges;
}

}  // namespace floe::fetcher
