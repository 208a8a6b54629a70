#pragma once

#include <string>
#include <string_view>

namespace floe {

/// Bytes from outside for an error text: in single quotes, on one line, printable ASCII (other
/// bytes as \xNN), cut after 200 bytes.
std::string Quote(std::string_view bytes);

}  // namespace floe
