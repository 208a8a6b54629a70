// What the kernel says on /dev/cachefiles and /dev/fuse: parsed or refused with one line.
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/check.h"
#include "cachemgr/channel/cachefiles/cachefiles_message.h"
#include "cachemgr/channel/fuse/fuse_message.h"

using floe::cachemgr::CachefilesOpen;
using floe::cachemgr::CachefilesRead;
using floe::cachemgr::FuseRequest;
using floe::cachemgr::ParseCachefilesMessage;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  if (const auto message = ParseCachefilesMessage(bytes); !message.has_value()) {
    FLOE_CHECK(message.error().message.find('\n') == std::string::npos);
  } else if (const auto* open = std::get_if<CachefilesOpen>(&message->body)) {
    FLOE_CHECK(open->fd >= 0 && open->volume_key.size() + open->cookie_key.size() < size);
    FLOE_CHECK(open->volume_key.find('\0') == std::string::npos);
  } else if (const auto* read = std::get_if<CachefilesRead>(&message->body)) {
    FLOE_CHECK(!read->range.empty() && read->range.end() > read->range.offset);
  }
  if (const auto request = FuseRequest::Parse(bytes); request.has_value()) {
    FLOE_CHECK(request->body.size() < size);
    if (const auto name = request->Name(); name.has_value()) {
      FLOE_CHECK(name->size() < request->body.size());
    }
  }
  return 0;
}
