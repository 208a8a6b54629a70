#include "cachemgr/channel/fuse/fuse_connection.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "base/file.h"
#include "base/log.h"
#include "base/thread_name.h"
#include "cachemgr/channel/errno_map.h"
#include "cachemgr/channel/fuse/fuse_abi.h"

namespace floe::cachemgr {
namespace {

// One reply's data, reused by its thread: readers answer hits, fill workers answer misses.
std::span<std::byte> DataBuffer() {
  thread_local const std::unique_ptr<std::byte[]> kBuffer(new std::byte[kFuseMaxReadBytes]);
  return {kBuffer.get(), kFuseMaxReadBytes};
}

// ENOENT: the request is gone (its reader was killed). ENODEV: the file system is.
void ReportWriteFailure(int error_number) {
  if (error_number != ENOENT && error_number != ENODEV) {
    LogError("fuse reply failed errno={}", error_number);
  }
}

void WriteReply(int device, std::span<const std::byte> reply) {
  if (::write(device, reply.data(), reply.size()) < 0) {
    ReportWriteFailure(errno);
  }
}

void WriteError(int device, uint64_t unique, int error_number) {
  std::array<std::byte, kFuseReplyHeaderBytes> reply{};
  FuseReplyWriter(reply).Error(unique, error_number);
  WriteReply(device, reply);
}

// The bytes of the range are present: from the cache file to the kernel.
void WriteData(int device, const FuseSession::Read& read) {
  const std::span<std::byte> data = DataBuffer().first(read.range.length);
  if (auto done = PreadAll(read.binding->spec.data_fd, data, read.range.offset); !done) {
    LogError("cache file read failed key={} offset={} length={} reason=\"{}\"",
             read.binding->spec.key, read.range.offset, read.range.length, done.error().message);
    WriteError(device, read.unique, EIO);
    return;
  }
  fuse_out_header header{};
  header.len = static_cast<uint32_t>(sizeof(header) + data.size());
  header.unique = read.unique;
  const std::array<iovec, 2> parts{iovec{.iov_base = &header, .iov_len = sizeof(header)},
                                   iovec{.iov_base = data.data(), .iov_len = data.size()}};
  if (::writev(device, parts.data(), parts.size()) < 0) {
    ReportWriteFailure(errno);
  }
}

Result<void> SetOption(int context, const char* key, const std::string& value) {
  if (::fsconfig(context, FSCONFIG_SET_STRING, key, value.c_str(), 0) != 0) {
    return ErrnoError(errno, fmt::format("fuse {}={}", key, value));
  }
  return Ok();
}

Result<UniqueFd> CreateFuseMount(int device) {
  const UniqueFd context(::fsopen("fuse", FSOPEN_CLOEXEC));
  if (!context.valid()) {
    return FailedPrecondition("the kernel has no fuse (modprobe fuse may help)");
  }
  FLOE_RETURN_IF_ERROR(SetOption(context.get(), "source", "floe"));
  FLOE_RETURN_IF_ERROR(SetOption(context.get(), "fd", fmt::format("{}", device)));
  FLOE_RETURN_IF_ERROR(SetOption(context.get(), "rootmode", "40555"));
  FLOE_RETURN_IF_ERROR(SetOption(context.get(), "user_id", fmt::format("{}", ::getuid())));
  FLOE_RETURN_IF_ERROR(SetOption(context.get(), "group_id", fmt::format("{}", ::getgid())));
  // Before Linux 7.2 EROFS reads its files with the credentials of whoever reads the mount.
  if (::fsconfig(context.get(), FSCONFIG_SET_FLAG, "allow_other", nullptr, 0) != 0 ||
      ::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
    return ErrnoError(errno, "mount fuse");
  }
  UniqueFd mount(::fsmount(context.get(), FSMOUNT_CLOEXEC,
                           MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID));
  if (!mount.valid()) {
    return ErrnoError(errno, "fsmount fuse");
  }
  return mount;
}

}  // namespace

class FuseConnection::Reply final : public DemandReply {
 public:
  Reply(std::shared_ptr<Device> device, FuseSession::Read read)
      : device_(std::move(device)), read_(std::move(read)) {}
  void Send(const Result<void>& outcome) override {
    if (outcome) {
      WriteData(device_->fd.get(), read_);
    } else if (!device_->leave_failures) {
      WriteError(device_->fd.get(), read_.unique, ErrnoForReply(outcome.error()));
    }
  }

 private:
  std::shared_ptr<Device> device_;
  FuseSession::Read read_;
};

FuseConnection::FuseConnection(FuseSession& session, FuseHandles handles)
    : session_(session), device_(std::make_shared<Device>()), mount_(std::move(handles.mount)) {
  device_->fd = std::move(handles.device);
}

Result<std::unique_ptr<FuseConnection>> FuseConnection::Create(FuseSession& session,
                                                               unsigned readers) {
  auto device = OpenFile("/dev/fuse", O_RDWR);
  if (!device) {
    return FailedPrecondition("no FUSE: {}", device.error().message);
  }
  FLOE_ASSIGN_OR_RETURN(UniqueFd mount, CreateFuseMount(device->get()));
  std::unique_ptr<FuseConnection> connection(
      new FuseConnection(session, {.device = std::move(*device), .mount = std::move(mount)}));
  connection->StartReaders(readers);
  return connection;
}

std::unique_ptr<FuseConnection> FuseConnection::TakeOver(FuseSession& session,
                                                         FuseHandles handles) {
  return std::unique_ptr<FuseConnection>(new FuseConnection(session, std::move(handles)));
}

Result<void> FuseConnection::Resume(unsigned readers) {
  StartReaders(readers);
  fuse_out_header notification{};
  notification.len = sizeof(notification);
  notification.error = kFuseNotifyResend;
  if (::write(device_fd(), &notification, sizeof(notification)) < 0) {
    return ErrnoError(errno, "have the kernel send fuse requests again");
  }
  return Ok();
}

void FuseConnection::StartReaders(unsigned readers) {
  for (unsigned i = 0; i < readers; ++i) {
    readers_.emplace_back([this, i] {
      SetThreadName(fmt::format("fuse-{}", i));
      Serve();
    });
  }
}

FuseConnection::~FuseConnection() {
  // A reader waits in read(2), which only a request ends: one LOOKUP for each of them. Once the
  // connection is gone (ENODEV) they have all left.
  for (size_t i = 0; i < readers_.size(); ++i) {
    const UniqueFd none(::openat(mount_.get(), FuseSession::kLeaveName, O_PATH | O_CLOEXEC));
  }
  readers_.clear();
}

Result<UniqueFd> FuseConnection::Open(const std::string& name) const {
  UniqueFd fd(::openat(mount_.get(), name.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) {
    return ErrnoError(errno, fmt::format("open FUSE file {}", name));
  }
  return fd;
}

void FuseConnection::Serve() {
  const std::unique_ptr<std::byte[]> request(new std::byte[kFuseRequestBytes]);
  const std::unique_ptr<std::byte[]> reply(new std::byte[kFuseReplyBytes]);
  const int device = device_fd();
  for (;;) {
    const ssize_t length = ::read(device, request.get(), kFuseRequestBytes);
    if (length < 0) {
      if (errno == EINTR || errno == EAGAIN || errno == ENOENT) {
        continue;  // ENOENT: the request was withdrawn before it could be read.
      }
      if (errno != ENODEV) {
        LogError("fuse reader ends errno={}", errno);
      }
      return;
    }
    FuseSession::Step step = session_.Handle({request.get(), static_cast<size_t>(length)},
                                             {reply.get(), kFuseReplyBytes});
    switch (step.action) {
      case FuseSession::Action::kNoReply:
        break;
      case FuseSession::Action::kReply:
        WriteReply(device, {reply.get(), step.reply_bytes});
        break;
      case FuseSession::Action::kLeave:
        WriteReply(device, {reply.get(), step.reply_bytes});
        return;
      case FuseSession::Action::kRead: {
        if (step.read.binding->handler->TryHit(step.read.range)) {
          WriteData(device, step.read);
        } else {
          const std::shared_ptr<const FuseBinding> binding = step.read.binding;
          binding->handler->Demand(step.read.range,
                                   std::make_unique<Reply>(device_, std::move(step.read)));
        }
        break;
      }
    }
  }
}

}  // namespace floe::cachemgr
