#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace floe::image {

struct GzipMemberOptions {
  int level = 6;
  int strategy = 0;          ///< Z_DEFAULT_STRATEGY, Z_FIXED ...
  int mem_level = 8;         ///< Smaller ones make smaller blocks.
  size_t flush_every = 0;    ///< Z_SYNC_FLUSH after so many bytes; 0: never.
  std::string extra = {};    ///< FEXTRA.
  std::string name = {};     ///< FNAME.
  std::string comment = {};  ///< FCOMMENT.
  bool header_crc = false;   ///< FHCRC.
};

/// One gzip member, made by zlib.
std::string GzipMember(std::string_view data, const GzipMemberOptions& options = {});
/// What zlib decodes the whole file to (every member), without any checkpoint: the oracle.
std::string GunzipAll(std::string_view blob);

}  // namespace floe::image
