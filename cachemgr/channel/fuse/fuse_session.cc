#include "cachemgr/channel/fuse/fuse_session.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "base/log.h"
#include "cachemgr/channel/fuse/fuse_abi.h"

namespace floe::cachemgr {
namespace {

using Action = FuseSession::Action;
using Step = FuseSession::Step;

// Nothing ever changes under a name: a year, which the kernel takes as for ever.
constexpr uint64_t kTimeoutSeconds = 365ULL * 24 * 3600;
constexpr uint64_t kSectorBytes = 512;
constexpr uint32_t kNameBytes = 255;

Step ReplyOf(size_t bytes) { return Step{.action = Action::kReply, .reply_bytes = bytes}; }

Step ErrorReply(const FuseRequest& request, FuseReplyWriter writer, int error_number) {
  return ReplyOf(writer.Error(request.unique, error_number));
}

fuse_attr AttributesOf(uint64_t node, uint64_t size_bytes) {
  fuse_attr attributes{};
  attributes.ino = node;
  attributes.blksize = kBlockBytes;
  attributes.nlink = 1;
  attributes.mode = S_IFREG | 0444;
  attributes.size = size_bytes;
  attributes.blocks = size_bytes / kSectorBytes;
  if (node == FUSE_ROOT_ID) {
    attributes.mode = S_IFDIR | 0555;
    attributes.nlink = 2;
  }
  return attributes;
}

}  // namespace

Step FuseSession::Handle(std::span<const std::byte> message, std::span<std::byte> reply) {
  const auto request = FuseRequest::Parse(message);
  if (!request) {
    LogError("fuse request dropped reason=\"{}\"", request.error().message);
    return Step{};
  }
  const FuseReplyWriter writer(reply);
  switch (request->opcode) {
    case FUSE_READ:
      return ReadFile(*request, writer);
    case FUSE_LOOKUP:
      return Lookup(*request, writer);
    case FUSE_GETATTR:
      return GetAttributes(*request, writer);
    case FUSE_OPEN:
      return Open(*request, writer);
    case FUSE_RELEASE:
      nodes_.Release(request->node);
      return ReplyOf(FuseReplyWriter(reply).Empty(request->unique));
    case FUSE_FORGET:
      return Forget(*request);
    case FUSE_BATCH_FORGET:
      return ForgetMany(*request);
    case FUSE_INIT:
      return Init(*request, writer);
    case FUSE_STATFS:
      return StatFileSystem(*request, writer);
    case FUSE_OPENDIR:
      return ReplyOf(FuseReplyWriter(reply).Struct(request->unique, fuse_open_out{}));
    case FUSE_READDIR:
      return ReadDirectory(*request, writer);
    case FUSE_RELEASEDIR:
    case FUSE_DESTROY:
      return ReplyOf(FuseReplyWriter(reply).Empty(request->unique));
    case FUSE_INTERRUPT:
      return Step{};
    default:
      return ErrorReply(*request, writer, ENOSYS);
  }
}

Step FuseSession::Init(const FuseRequest& request, FuseReplyWriter writer) {
  const auto offer = request.Body<fuse_init_in>();
  if (!offer) {
    return ErrorReply(request, writer, EPROTO);
  }
  const auto answer = NegotiateFuse(*offer);
  if (!answer) {
    LogError("fuse connection refused reason=\"{}\"", answer.error().message);
    return ErrorReply(request, writer, EPROTO);
  }
  resend_granted_ = (answer->flags2 & (kFuseHasResend >> 32U)) != 0;
  return ReplyOf(writer.Struct(request.unique, *answer));
}

Step FuseSession::Lookup(const FuseRequest& request, FuseReplyWriter writer) {
  const auto name = request.Name();
  if (!name || request.node != FUSE_ROOT_ID) {
    return ErrorReply(request, writer, ENOENT);
  }
  if (*name == std::string_view(kLeaveName)) {
    Step step = ErrorReply(request, writer, ENOENT);
    step.action = Action::kLeave;
    return step;
  }
  const auto found = nodes_.Lookup(*name);
  if (!found) {
    return ErrorReply(request, writer, ENOENT);
  }
  fuse_entry_out entry{};
  entry.nodeid = found->node;
  // The name is asked for again at every open, so that a withdrawn device is not found any more.
  entry.entry_valid = 0;
  entry.attr_valid = kTimeoutSeconds;
  entry.attr = AttributesOf(found->node, found->size_bytes);
  return ReplyOf(writer.Struct(request.unique, entry));
}

Step FuseSession::GetAttributes(const FuseRequest& request, FuseReplyWriter writer) {
  uint64_t size_bytes = 0;
  if (request.node != FUSE_ROOT_ID) {
    const auto found = nodes_.Find(request.node);
    if (!found) {
      return ErrorReply(request, writer, ENOENT);
    }
    size_bytes = found->size_bytes;
  }
  fuse_attr_out answer{};
  answer.attr_valid = kTimeoutSeconds;
  answer.attr = AttributesOf(request.node, size_bytes);
  return ReplyOf(writer.Struct(request.unique, answer));
}

Step FuseSession::Open(const FuseRequest& request, FuseReplyWriter writer) {
  const auto body = request.Body<fuse_open_in>();
  if (!body) {
    return ErrorReply(request, writer, EINVAL);
  }
  if ((body->flags & O_ACCMODE) != O_RDONLY) {
    return ErrorReply(request, writer, EROFS);
  }
  if (!nodes_.Open(request.node)) {
    return ErrorReply(request, writer, ENOENT);
  }
  fuse_open_out answer{};
  answer.fh = request.node;
  answer.open_flags = FOPEN_KEEP_CACHE;
  return ReplyOf(writer.Struct(request.unique, answer));
}

Step FuseSession::ReadFile(const FuseRequest& request, FuseReplyWriter writer) {
  const auto body = request.Body<fuse_read_in>();
  if (!body || body->size > kFuseMaxReadBytes) {
    return ErrorReply(request, writer, EINVAL);
  }
  auto binding = nodes_.Binding(request.node);
  if (binding == nullptr) {
    return ErrorReply(request, writer, EIO);
  }
  const uint64_t size_bytes = binding->spec.size_bytes;
  if (body->offset >= size_bytes || body->size == 0) {
    return ReplyOf(writer.Empty(request.unique));
  }
  const ByteRange range{.offset = body->offset,
                        .length = std::min<uint64_t>(body->size, size_bytes - body->offset)};
  return Step{.action = Action::kRead,
              .reply_bytes = 0,
              .read = {.unique = request.unique, .range = range, .binding = std::move(binding)}};
}

Step FuseSession::ReadDirectory(const FuseRequest& request, FuseReplyWriter writer) {
  const auto body = request.Body<fuse_read_in>();
  if (!body) {
    return ErrorReply(request, writer, EINVAL);
  }
  // Offsets are node ids: the entry after offset N is the first with a larger id.
  for (const FuseNodes::Entry& entry : nodes_.List(body->offset)) {
    if (!writer.AddEntry(entry.node, entry.node, S_IFREG >> 12U, entry.name, body->size)) {
      break;
    }
  }
  return ReplyOf(writer.Entries(request.unique));
}

Step FuseSession::Forget(const FuseRequest& request) {
  if (const auto body = request.Body<fuse_forget_in>()) {
    nodes_.Forget(request.node, body->nlookup);
  }
  return Step{};
}

Step FuseSession::ForgetMany(const FuseRequest& request) {
  const auto body = request.Body<fuse_batch_forget_in>();
  if (!body) {
    return Step{};
  }
  std::span<const std::byte> rest = request.body.subspan(sizeof(*body));
  for (uint32_t i = 0; i < body->count && rest.size() >= sizeof(fuse_forget_one); ++i) {
    fuse_forget_one one{};
    std::memcpy(&one, rest.data(), sizeof(one));
    nodes_.Forget(one.nodeid, one.nlookup);
    rest = rest.subspan(sizeof(one));
  }
  return Step{};
}

Step FuseSession::StatFileSystem(const FuseRequest& request, FuseReplyWriter writer) {
  fuse_statfs_out answer{};
  answer.st.bsize = kBlockBytes;
  answer.st.frsize = kBlockBytes;
  answer.st.namelen = kNameBytes;
  return ReplyOf(writer.Struct(request.unique, answer));
}

}  // namespace floe::cachemgr
