#include "cachemgr/channel/cachefiles/cachefiles_message.h"

#include <linux/cachefiles.h>

#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/result_matchers.h"

namespace floe::cachemgr {
namespace {

template <typename T>
std::string Raw(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

std::string Message(uint32_t opcode, const std::string& payload, int length_error = 0) {
  cachefiles_msg header{};
  header.msg_id = 7;
  header.opcode = opcode;
  header.len =
      static_cast<uint32_t>(static_cast<int>(sizeof(header) + payload.size()) + length_error);
  header.object_id = 9;
  return Raw(header) + payload;
}

std::string OpenPayload(const std::string& volume, const std::string& cookie, uint32_t fd = 5) {
  cachefiles_open open{};
  open.volume_key_size = static_cast<uint32_t>(volume.size());
  open.cookie_key_size = static_cast<uint32_t>(cookie.size());
  open.fd = fd;
  return Raw(open) + volume + cookie;
}

std::string ReadPayload(uint64_t offset, uint64_t length) {
  cachefiles_read read{};
  read.off = offset;
  read.len = length;
  return Raw(read);
}

Result<CachefilesMessage> Parse(const std::string& bytes) {
  return ParseCachefilesMessage(std::as_bytes(std::span(bytes)));
}

const std::string kVolume("erofs,floe\0", 11);

TEST(CachefilesMessageTest, Open) {
  FLOE_ASSERT_OK_AND_ASSIGN(const CachefilesMessage message,
                            Parse(Message(CACHEFILES_OP_OPEN, OpenPayload(kVolume, "key"))));
  EXPECT_EQ(message.id, 7U);
  EXPECT_EQ(message.object, 9U);
  const auto& open = std::get<CachefilesOpen>(message.body);
  EXPECT_EQ(open.volume_key, "erofs,floe");
  EXPECT_EQ(open.cookie_key, "key");
  EXPECT_EQ(open.fd, 5);
}

TEST(CachefilesMessageTest, ReadAndClose) {
  FLOE_ASSERT_OK_AND_ASSIGN(const CachefilesMessage read,
                            Parse(Message(CACHEFILES_OP_READ, ReadPayload(4096, 65536))));
  EXPECT_EQ(std::get<CachefilesRead>(read.body).range,
            (ByteRange{.offset = 4096, .length = 65536}));
  FLOE_ASSERT_OK_AND_ASSIGN(const CachefilesMessage close, Parse(Message(CACHEFILES_OP_CLOSE, "")));
  EXPECT_TRUE(std::holds_alternative<CachefilesClose>(close.body));
}

TEST(CachefilesMessageTest, RefusesWhatIsNoMessage) {
  const std::string good = Message(CACHEFILES_OP_OPEN, OpenPayload(kVolume, "key"));
  for (size_t length = 0; length < good.size(); ++length) {
    EXPECT_FALSE(Parse(good.substr(0, length)).has_value()) << length;
  }
  for (const std::string& bad : {
           Message(CACHEFILES_OP_OPEN, OpenPayload(kVolume, "key"), 1),
           Message(CACHEFILES_OP_OPEN, OpenPayload(kVolume, "key") + "x"),
           Message(CACHEFILES_OP_OPEN, OpenPayload("no end", "key")),
           Message(CACHEFILES_OP_OPEN, OpenPayload(std::string("a\0b\0", 4), "key")),
           Message(CACHEFILES_OP_OPEN, OpenPayload("", "key")),
           Message(CACHEFILES_OP_OPEN, OpenPayload(kVolume, "key", 0x80000000U)),
           Message(CACHEFILES_OP_READ, ReadPayload(0, 0)),
           Message(CACHEFILES_OP_READ, ReadPayload(UINT64_MAX, 2)),
           Message(CACHEFILES_OP_READ, ReadPayload(0, 1) + "x"),
           Message(3, ""),
       }) {
    FLOE_EXPECT_ERROR(Parse(bad), ErrorCode::kDataLoss, "cachefiles");
  }
}

}  // namespace
}  // namespace floe::cachemgr
