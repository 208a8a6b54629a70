#include "tests/image/gzip_support.h"

#include <zlib.h>

#include <algorithm>
#include <array>

#include "base/check.h"

namespace floe::image {
namespace {

Bytef* Mutable(std::string& text) { return reinterpret_cast<Bytef*>(text.data()); }
Bytef* Mutable(std::string_view text) {
  return reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
}

}  // namespace

std::string GzipMember(std::string_view data, const GzipMemberOptions& options) {
  z_stream z = {};
  FLOE_CHECK(deflateInit2(&z, options.level, Z_DEFLATED, 15 + 16, options.mem_level,
                          options.strategy) == Z_OK);
  gz_header header = {};
  std::string extra = options.extra;
  std::string name = options.name;
  std::string comment = options.comment;
  header.os = 255;
  header.extra = extra.empty() ? nullptr : Mutable(extra);
  header.extra_len = static_cast<uInt>(extra.size());
  header.name = name.empty() ? nullptr : Mutable(name);
  header.comment = comment.empty() ? nullptr : Mutable(comment);
  header.hcrc = options.header_crc ? 1 : 0;
  FLOE_CHECK(deflateSetHeader(&z, &header) == Z_OK);
  std::string out(deflateBound(&z, data.size()) + data.size() + 1024, '\0');
  z.next_out = Mutable(out);
  z.avail_out = static_cast<uInt>(out.size());
  const size_t step = options.flush_every == 0 ? data.size() + 1 : options.flush_every;
  for (size_t at = 0; at < data.size(); at += step) {
    const std::string_view piece = data.substr(at, step);
    z.next_in = Mutable(piece);
    z.avail_in = static_cast<uInt>(piece.size());
    FLOE_CHECK(deflate(&z, options.flush_every == 0 ? Z_NO_FLUSH : Z_SYNC_FLUSH) == Z_OK);
    FLOE_CHECK(z.avail_in == 0);
  }
  FLOE_CHECK(deflate(&z, Z_FINISH) == Z_STREAM_END);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

std::string GunzipAll(std::string_view blob) {
  std::string decoded;
  std::array<char, 65536> buffer{};
  z_stream z = {};
  FLOE_CHECK(inflateInit2(&z, 15 + 16) == Z_OK);
  z.next_in = Mutable(blob);
  z.avail_in = static_cast<uInt>(blob.size());
  while (z.avail_in > 0) {
    z.next_out = reinterpret_cast<Bytef*>(buffer.data());
    z.avail_out = static_cast<uInt>(buffer.size());
    const int status = inflate(&z, Z_NO_FLUSH);
    FLOE_CHECK(status == Z_OK || status == Z_STREAM_END);
    decoded.append(buffer.data(), buffer.size() - z.avail_out);
    if (status == Z_STREAM_END) {
      FLOE_CHECK(inflateReset(&z) == Z_OK);
    }
  }
  inflateEnd(&z);
  return decoded;
}

}  // namespace floe::image
