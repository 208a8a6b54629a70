#pragma once

#include "image/layer_index.h"
#include "image/rafs/blob_table.h"

namespace floe::image::rafs {

/// How bytes of that compressor are decoded (of chunks, batches and chunk information; zran
/// contexts are kDeflate).
constexpr Codec CodecOf(Compressor compressor) {
  switch (compressor) {
    case Compressor::kLz4Block:
      return Codec::kLz4Block;
    case Compressor::kGzip:
      return Codec::kGzip;
    case Compressor::kZstd:
      return Codec::kZstd;
    case Compressor::kNone:
      break;
  }
  return Codec::kPlain;
}

}  // namespace floe::image::rafs
