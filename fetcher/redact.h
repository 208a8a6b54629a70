#pragma once

#include <string>
#include <string_view>

/// The one place where text from outside becomes fit for logs and error messages.
namespace floe::fetcher {

/// scheme://host[:port]/path. User information, query and fragment, where signatures and tokens
/// live, become "...". Never fails: what is no URL comes back as RedactText makes it.
[[nodiscard]] std::string RedactUrl(std::string_view url);

/// Any text: the URLs in it redacted, what follows "Bearer" or "Basic" hidden, control characters
/// replaced, cut to a line of reasonable length.
[[nodiscard]] std::string RedactText(std::string_view text);

}  // namespace floe::fetcher
