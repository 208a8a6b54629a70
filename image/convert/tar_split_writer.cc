#include "image/convert/tar_split_writer.h"

#include <zstd.h>

#include <array>
#include <utility>

#include <nlohmann/json.hpp>

#include "image/convert/base64.h"

namespace floe::image {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kFileType = 1;
constexpr int kSegmentType = 2;

constexpr std::array<uint64_t, 256> MakeCrcTable() {
  constexpr uint64_t kIsoPolynomial = 0xD800000000000000U;  // Reversed.
  std::array<uint64_t, 256> table{};
  for (uint64_t i = 0; i < table.size(); ++i) {
    uint64_t crc = i;
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc & 1U) != 0 ? (crc >> 1U) ^ kIsoPolynomial : crc >> 1U;
    }
    table[i] = crc;
  }
  return table;
}
constexpr std::array<uint64_t, 256> kCrcTable = MakeCrcTable();

std::string BigEndian(uint64_t value) {
  std::string bytes(sizeof(value), '\0');
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<char>((value >> (8 * (bytes.size() - 1 - i))) & 0xFFU);
  }
  return bytes;
}

class ZstdTarSplitWriter final : public TarSplitWriter {
 public:
  explicit ZstdTarSplitWriter(int level) {
    if (context_ != nullptr) {
      ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_compressionLevel, level);
    }
  }
  [[nodiscard]] bool valid() const { return context_ != nullptr; }

  Result<void> AddSegment(std::string_view bytes) override {
    return AddLine({{"type", kSegmentType}, {"payload", Base64Encode(bytes)}});
  }

  Result<void> AddFile(std::string_view name, uint64_t size_bytes, uint64_t crc) override {
    Json line{{"type", kFileType}, {"name", name}};
    if (size_bytes > 0) {
      line["size"] = size_bytes;
      line["payload"] = Base64Encode(BigEndian(crc));
    } else {
      line["payload"] = nullptr;
    }
    return AddLine(std::move(line));
  }

  Result<Stream> Finish() override {
    FLOE_RETURN_IF_ERROR(Compress("", ZSTD_e_end));
    return std::exchange(stream_, {});
  }

 private:
  Result<void> AddLine(Json line) {
    line["position"] = position_++;
    const std::string text =
        line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";  // Names were checked.
    stream_.raw_bytes += text.size();
    return Compress(text, ZSTD_e_continue);
  }

  Result<void> Compress(std::string_view text, ZSTD_EndDirective directive) {
    ZSTD_inBuffer in{.src = text.data(), .size = text.size(), .pos = 0};
    std::array<char, 16384> buffer;
    size_t left = 0;
    do {
      ZSTD_outBuffer out{.dst = buffer.data(), .size = buffer.size(), .pos = 0};
      left = ZSTD_compressStream2(context_.get(), &out, &in, directive);
      if (ZSTD_isError(left) != 0) {
        return ResourceExhausted("zstd: {}", ZSTD_getErrorName(left));
      }
      stream_.compressed.append(buffer.data(), out.pos);
    } while (in.pos < in.size || (directive == ZSTD_e_end && left > 0));
    return Ok();
  }

  std::unique_ptr<ZSTD_CCtx, size_t (*)(ZSTD_CCtx*)> context_{ZSTD_createCCtx(), ZSTD_freeCCtx};
  uint64_t position_ = 0;
  Stream stream_;
};

}  // namespace

void Crc64Iso::Update(std::span<const std::byte> bytes) {
  for (std::byte byte : bytes) {
    state_ = kCrcTable[(state_ ^ std::to_integer<uint64_t>(byte)) & 0xFFU] ^ (state_ >> 8U);
  }
}

Result<std::unique_ptr<TarSplitWriter>> TarSplitWriter::Create(int level) {
  auto writer = std::make_unique<ZstdTarSplitWriter>(level);
  if (!writer->valid()) {
    return ResourceExhausted("no memory for a zstd context");
  }
  return std::unique_ptr<TarSplitWriter>(std::move(writer));
}

}  // namespace floe::image
