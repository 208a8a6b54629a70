#include "cachemgr/channel/fuse/fuse_session.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "tests/support/result_matchers.h"

namespace floe::cachemgr {
namespace {

using Action = FuseSession::Action;

class NullHandler final : public DemandHandler {
 public:
  bool TryHit(ByteRange /*range*/) override { return true; }
  void Demand(ByteRange /*range*/, std::unique_ptr<DemandReply> /*reply*/) override {}
  void UseCacheFile(std::shared_ptr<CacheFile> /*file*/,
                    const std::vector<ByteRange>& /*present*/) override {}
  std::vector<ByteRange> Blanks(ByteRange /*range*/) override { return {}; }
};

class FuseSessionTest : public ::testing::Test {
 protected:
  // A message as the kernel sends it.
  template <typename T>
  static std::string Message(uint32_t opcode, uint64_t node, const T& body) {
    fuse_in_header header{};
    header.opcode = opcode;
    header.unique = kUnique;
    header.nodeid = node;
    std::string bytes(sizeof(header), '\0');
    if constexpr (std::is_same_v<T, std::string>) {
      bytes += body;
    } else {
      bytes.append(reinterpret_cast<const char*>(&body), sizeof(body));
    }
    header.len = static_cast<uint32_t>(bytes.size());
    std::memcpy(bytes.data(), &header, sizeof(header));
    return bytes;
  }
  static std::string Message(uint32_t opcode, uint64_t node) {
    return Message(opcode, node, std::string());
  }

  FuseSession::Step Handle(const std::string& message) {
    return session_.Handle(std::as_bytes(std::span(message)), reply_);
  }
  fuse_out_header ReplyHeader() const {
    fuse_out_header header{};
    std::memcpy(&header, reply_.data(), sizeof(header));
    return header;
  }
  template <typename T>
  T ReplyBody() const {
    T body{};
    std::memcpy(&body, reply_.data() + sizeof(fuse_out_header), sizeof(body));
    return body;
  }
  void ExpectError(const std::string& message, int error_number) {
    const auto step = Handle(message);
    EXPECT_EQ(step.action, Action::kReply);
    EXPECT_EQ(step.reply_bytes, sizeof(fuse_out_header));
    EXPECT_EQ(ReplyHeader().error, -error_number);
    EXPECT_EQ(ReplyHeader().unique, kUnique);
  }
  uint64_t Register(const std::string& key, uint64_t size_bytes) {
    auto node = nodes_.Register({.key = key, .size_bytes = size_bytes, .data_fd = 7},
                                std::make_shared<NullHandler>());
    EXPECT_TRUE(node.has_value());
    return *node;
  }
  static fuse_read_in ReadBody(uint64_t offset, uint32_t size) {
    fuse_read_in body{};
    body.offset = offset;
    body.size = size;
    return body;
  }

  static constexpr uint64_t kUnique = (1ULL << 63U) | 42;  // With the bit of a resent request.
  const std::string key_ = std::string(64, 'a');
  std::vector<std::byte> reply_ = std::vector<std::byte>(kFuseReplyBytes);
  FuseNodes nodes_;
  FuseSession session_{nodes_};
};

TEST_F(FuseSessionTest, InitAsksForLargeAsynchronousReadsAndResend) {
  fuse_init_in offer{};
  offer.major = 7;
  offer.minor = 44;
  offer.flags = UINT32_MAX;
  offer.flags2 = UINT32_MAX;
  EXPECT_EQ(Handle(Message(FUSE_INIT, 0, offer)).action, Action::kReply);
  const auto answer = ReplyBody<fuse_init_out>();
  EXPECT_EQ(answer.major, 7U);
  EXPECT_EQ(answer.minor, 38U);
  EXPECT_NE(answer.flags & FUSE_ASYNC_READ, 0U);
  EXPECT_NE(answer.flags & FUSE_INIT_EXT, 0U);
  EXPECT_EQ(answer.max_pages, 256U);
  EXPECT_EQ(answer.flags2, 1U << (39U - 32U));  // HAS_RESEND alone: no passthrough (bit 37).
}

TEST_F(FuseSessionTest, InitGrantsOnlyWhatIsOffered) {
  fuse_init_in offer{};
  offer.major = 7;
  offer.minor = 36;
  offer.flags = FUSE_ASYNC_READ;
  offer.flags2 = UINT32_MAX;  // Means nothing without FUSE_INIT_EXT.
  Handle(Message(FUSE_INIT, 0, offer));
  const auto answer = ReplyBody<fuse_init_out>();
  EXPECT_EQ(answer.minor, 36U);
  EXPECT_EQ(answer.flags, static_cast<uint32_t>(FUSE_ASYNC_READ));
  EXPECT_EQ(answer.flags2, 0U);
}

TEST_F(FuseSessionTest, InitOfOldKernelsIsShortAndRefused) {
  const std::string body("\x07\0\0\0\x10\0\0\0\0\0\0\0\0\0\0\0", 16);
  ExpectError(Message(FUSE_INIT, 0, body), EPROTO);
}

TEST_F(FuseSessionTest, LookupFindsRegisteredDevicesOnly) {
  const uint64_t node = Register(key_, 8192);
  EXPECT_EQ(Handle(Message(FUSE_LOOKUP, FUSE_ROOT_ID, key_ + '\0')).action, Action::kReply);
  const auto entry = ReplyBody<fuse_entry_out>();
  EXPECT_EQ(entry.nodeid, node);
  EXPECT_EQ(entry.attr.size, 8192U);
  EXPECT_EQ(entry.attr.mode, static_cast<uint32_t>(S_IFREG | 0444));
  EXPECT_GT(entry.attr_valid, 1000000U);
  ExpectError(Message(FUSE_LOOKUP, FUSE_ROOT_ID, std::string("other\0", 6)), ENOENT);
  ExpectError(Message(FUSE_LOOKUP, FUSE_ROOT_ID, std::string("no end")), ENOENT);
  ExpectError(Message(FUSE_LOOKUP, node, key_ + '\0'), ENOENT);
  nodes_.Unregister(node);
  ExpectError(Message(FUSE_LOOKUP, FUSE_ROOT_ID, key_ + '\0'), ENOENT);
}

TEST_F(FuseSessionTest, OpenIsForReadingOnly) {
  const uint64_t node = Register(key_, 4096);
  fuse_open_in body{};
  body.flags = O_RDWR;
  ExpectError(Message(FUSE_OPEN, node, body), EROFS);
  body.flags = O_RDONLY;
  EXPECT_EQ(Handle(Message(FUSE_OPEN, node, body)).action, Action::kReply);
  EXPECT_EQ(ReplyBody<fuse_open_out>().open_flags, static_cast<uint32_t>(FOPEN_KEEP_CACHE));
  ExpectError(Message(FUSE_OPEN, 99, body), ENOENT);
}

TEST_F(FuseSessionTest, ReadsAreCutAtTheEndOfTheDevice) {
  const uint64_t node = Register(key_, 8192);
  auto step = Handle(Message(FUSE_READ, node, ReadBody(4096, 131072)));
  EXPECT_EQ(step.action, Action::kRead);
  EXPECT_EQ(step.read.unique, kUnique);
  EXPECT_EQ(step.read.range, (ByteRange{.offset = 4096, .length = 4096}));
  EXPECT_EQ(step.read.binding->spec.data_fd, 7);
  step = Handle(Message(FUSE_READ, node, ReadBody(8192, 4096)));
  EXPECT_EQ(step.action, Action::kReply);
  EXPECT_EQ(ReplyHeader().error, 0);
  EXPECT_EQ(ReplyHeader().len, sizeof(fuse_out_header));
  ExpectError(Message(FUSE_READ, node, ReadBody(0, 2U << 20U)), EINVAL);
  ExpectError(Message(FUSE_READ, node, std::string("short")), EINVAL);
  ExpectError(Message(FUSE_READ, 99, ReadBody(0, 4096)), EIO);
}

TEST_F(FuseSessionTest, AnOpenFileIsServedAfterItsDeviceIsWithdrawn) {
  const uint64_t node = Register(key_, 4096);
  Handle(Message(FUSE_LOOKUP, FUSE_ROOT_ID, key_ + '\0'));
  Handle(Message(FUSE_OPEN, node, fuse_open_in{}));
  nodes_.Unregister(node);
  EXPECT_EQ(Handle(Message(FUSE_READ, node, ReadBody(0, 4096))).action, Action::kRead);
  Handle(Message(FUSE_RELEASE, node));
  ExpectError(Message(FUSE_READ, node, ReadBody(0, 4096)), EIO);
  // The kernel still knows the node: the same key gets the same number.
  EXPECT_EQ(Register(key_, 4096), node);
}

TEST_F(FuseSessionTest, ForgottenNodesAreGone) {
  const uint64_t node = Register(key_, 4096);
  Handle(Message(FUSE_LOOKUP, FUSE_ROOT_ID, key_ + '\0'));
  Handle(Message(FUSE_LOOKUP, FUSE_ROOT_ID, key_ + '\0'));
  nodes_.Unregister(node);
  struct {
    fuse_batch_forget_in count;
    fuse_forget_one one;
  } body{.count = {.count = 1, .dummy = 0}, .one = {.nodeid = node, .nlookup = 1}};
  EXPECT_EQ(Handle(Message(FUSE_BATCH_FORGET, 0, body)).action, Action::kNoReply);
  EXPECT_EQ(Register(key_, 4096), node);
  nodes_.Unregister(node);
  EXPECT_EQ(Handle(Message(FUSE_FORGET, node, fuse_forget_in{.nlookup = 1})).action,
            Action::kNoReply);
  EXPECT_FALSE(nodes_.Find(node).has_value());
  EXPECT_EQ(Register(key_, 4096), node) << "a key has one number, in every process";
}

TEST_F(FuseSessionTest, TheDirectoryListsDevicesInPieces) {
  for (char c = 'a'; c <= 'e'; ++c) {
    Register(std::string(64, c), 4096);
  }
  std::vector<std::string> names;
  uint64_t offset = 0;
  for (int round = 0; round < 10; ++round) {
    const auto step = Handle(Message(FUSE_READDIR, FUSE_ROOT_ID, ReadBody(offset, 200)));
    ASSERT_LE(step.reply_bytes, sizeof(fuse_out_header) + 200);
    size_t at = sizeof(fuse_out_header);
    if (step.reply_bytes == at) {
      break;
    }
    while (at < step.reply_bytes) {
      fuse_dirent entry{};
      std::memcpy(&entry, reply_.data() + at, FUSE_NAME_OFFSET);
      names.emplace_back(reinterpret_cast<const char*>(reply_.data() + at + FUSE_NAME_OFFSET),
                         entry.namelen);
      offset = entry.off;
      at += FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + entry.namelen);
    }
  }
  EXPECT_EQ(names.size(), 5U);
  EXPECT_EQ(names.back(), std::string(64, 'e'));
}

TEST_F(FuseSessionTest, AttributesOfTheDirectoryAndOfNobody) {
  Handle(Message(FUSE_GETATTR, FUSE_ROOT_ID, fuse_getattr_in{}));
  EXPECT_EQ(ReplyBody<fuse_attr_out>().attr.mode, static_cast<uint32_t>(S_IFDIR | 0555));
  ExpectError(Message(FUSE_GETATTR, 99, fuse_getattr_in{}), ENOENT);
}

TEST_F(FuseSessionTest, InterruptsAreNotActedOn) {
  EXPECT_EQ(Handle(Message(FUSE_INTERRUPT, 0, fuse_interrupt_in{.unique = 42})).action,
            Action::kNoReply);
}

TEST_F(FuseSessionTest, UnknownRequestsAreNotImplemented) {
  ExpectError(Message(FUSE_WRITE, 2), ENOSYS);
  ExpectError(Message(FUSE_GETXATTR, FUSE_ROOT_ID), ENOSYS);
  ExpectError(Message(9999, FUSE_ROOT_ID), ENOSYS);
}

TEST_F(FuseSessionTest, MalformedMessagesAreDropped) {
  EXPECT_EQ(Handle("short").action, Action::kNoReply);
  std::string wrong_length = Message(FUSE_GETATTR, FUSE_ROOT_ID);
  wrong_length += "x";
  EXPECT_EQ(Handle(wrong_length).action, Action::kNoReply);
}

TEST_F(FuseSessionTest, AKeyHasOneSize) {
  Register(key_, 4096);
  FLOE_EXPECT_ERROR(nodes_.Register({.key = key_, .size_bytes = 8192, .data_fd = 7},
                                    std::make_shared<NullHandler>()),
                    ErrorCode::kInvalidArgument, "has 4096 bytes");
}

}  // namespace
}  // namespace floe::cachemgr
