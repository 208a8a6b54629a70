// The journal of unanswered events and the take-over of a fanotify group, against the running
// kernel and files of its own: no EROFS, no registry.
#include <fcntl.h>
#include <poll.h>
#include <sys/fanotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstring>
#include <future>
#include <memory>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/check.h"
#include "base/file.h"
#include "cachemgr/channel/fanotify/fanotify_abi.h"
#include "cachemgr/channel/fanotify/fanotify_channel.h"
#include "cachemgr/channel/fanotify/fanotify_journal.h"
#include "tests/support/result_matchers.h"
#include "tests/support/temp_dir.h"

namespace floe::cachemgr {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint64_t kBytes = kBlockBytes;

// A sparse file of one block that is marked, as a process that fills it and one that reads it
// have it open.
struct MarkedFile {
  UniqueFd filled;  // Opened before the mark.
  UniqueFd read;    // Opened after it.
};

class FanotifyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    group_.Reset(::fanotify_init(FAN_CLASS_PRE_CONTENT | FAN_CLOEXEC | FAN_UNLIMITED_QUEUE |
                                     FAN_UNLIMITED_MARKS | FAN_NONBLOCK,
                                 O_RDONLY | O_CLOEXEC));
    if (!group_.valid()) {
      GTEST_SKIP() << "fanotify_init: " << std::strerror(errno);
    }
    for (MarkedFile* file : {&first_, &second_}) {
      const auto path = directory_ / (file == &first_ ? "first" : "second");
      FLOE_ASSERT_OK_AND_ASSIGN(file->filled, OpenFile(path, O_RDWR | O_CREAT));
      ASSERT_EQ(::ftruncate(file->filled.get(), kBytes), 0);
      if (::fanotify_mark(group_.get(), FAN_MARK_ADD, kFanPreAccess, file->filled.get(), nullptr) !=
          0) {
        GTEST_SKIP() << "no pre-content events here: " << std::strerror(errno);
      }
      FLOE_ASSERT_OK_AND_ASSIGN(file->read, OpenFile(path, O_RDONLY));
    }
    FLOE_ASSERT_OK_AND_ASSIGN(journal_, FanotifyJournal::Create());
  }

  [[nodiscard]] static std::string Filled(char letter) { return std::string(kBytes, letter); }
  static void Fill(const MarkedFile& file, char letter) {
    const std::string bytes = Filled(letter);
    FLOE_ASSERT_OK(PwriteAll(file.filled.get(), std::as_bytes(std::span(bytes)), 0));
  }
  static std::future<std::string> ReadLater(const MarkedFile& file) {
    return std::async(std::launch::async, [&file] {
      std::string bytes(kBytes, '?');
      const auto read = PreadAll(file.read.get(), std::as_writable_bytes(std::span(bytes)), 0);
      return read ? bytes : "errno " + std::to_string(read.error().os_errno);
    });
  }
  static FileId IdOf(const MarkedFile& file) {
    struct stat status{};
    FLOE_CHECK(::fstat(file.filled.get(), &status) == 0);
    return {.device = status.st_dev, .inode = status.st_ino};
  }
  // The next event, in a slot of the journal.
  uint32_t ReadEvent() {
    pollfd waited{.fd = group_.get(), .events = POLLIN, .revents = 0};
    FLOE_CHECK(::poll(&waited, 1, -1) == 1);
    const auto slot = journal_->Take();
    FLOE_CHECK(slot.has_value());
    const auto buffer = journal_->Buffer(*slot);
    FLOE_CHECK(::read(group_.get(), buffer.data(), buffer.size()) > 0);
    return *slot;
  }
  void Allow(int number) const {
    const fanotify_response response{.fd = number, .response = FAN_ALLOW};
    EXPECT_EQ(::write(group_.get(), &response, sizeof(response)), ssize_t{sizeof(response)});
  }
  // Starts a process that reads an event as soon as there is one, and is killed then. What it
  // journaled is what it leaves; with `look_at_file`, also which file it was. Before any thread.
  pid_t StartDoomedReader(bool look_at_file) {
    const pid_t child = ::fork();
    FLOE_CHECK(child >= 0);
    if (child == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      const uint32_t slot = ReadEvent();
      if (look_at_file) {
        journal_->SetFile(slot, IdOf(first_));
      }
      ::kill(::getpid(), SIGKILL);
    }
    return child;
  }
  // The journal as its next owner opens it: its descriptor is out of the way.
  std::unique_ptr<FanotifyJournal> Inherit() const {
    constexpr int kOutOfTheWay = 100;
    auto journal =
        FanotifyJournal::Open(UniqueFd(::fcntl(journal_->memfd(), F_DUPFD_CLOEXEC, kOutOfTheWay)));
    FLOE_CHECK(journal.has_value());
    return std::move(*journal);
  }

  floe::testing::TempDir directory_;
  UniqueFd group_;
  MarkedFile first_, second_;
  std::unique_ptr<FanotifyJournal> journal_;
};

TEST_F(FanotifyTest, AnEventIsReadIntoTheJournalAndLeavesIt) {
  EXPECT_THAT(Inherit()->inherited(), IsEmpty());
  auto reader = ReadLater(first_);
  const uint32_t slot = ReadEvent();
  FLOE_ASSERT_OK_AND_ASSIGN(FanotifyEvent event, journal_->Event(slot));
  EXPECT_GE(event.fd, 0);
  EXPECT_EQ(event.range, (ByteRange{.offset = 0, .length = kBytes}));
  EXPECT_FALSE(event.file.has_value());
  journal_->SetFile(slot, IdOf(first_));
  FLOE_ASSERT_OK_AND_ASSIGN(event, journal_->Event(slot));
  EXPECT_EQ(event.file, IdOf(first_));
  EXPECT_THAT(Inherit()->inherited(), ElementsAre(slot));
  Fill(first_, 'a');
  Allow(event.fd);
  journal_->Clear(slot);
  ::close(event.fd);
  EXPECT_EQ(reader.get(), Filled('a'));
  EXPECT_THAT(Inherit()->inherited(), IsEmpty());
  // The next event in that slot is of a file that nobody has looked at.
  ASSERT_EQ(journal_->Take(), slot);
  auto another = ReadLater(second_);
  pollfd waited{.fd = group_.get(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(::poll(&waited, 1, -1), 1);
  ASSERT_GT(::read(group_.get(), journal_->Buffer(slot).data(), journal_->Buffer(slot).size()), 0);
  FLOE_ASSERT_OK_AND_ASSIGN(event, journal_->Event(slot));
  EXPECT_FALSE(event.file.has_value());
  Fill(second_, 'b');
  Allow(event.fd);
  EXPECT_EQ(another.get(), Filled('b'));
}

TEST_F(FanotifyTest, WhatIsNoJournalIsRefused) {
  UniqueFd memfd(::memfd_create("test", MFD_CLOEXEC));
  FLOE_EXPECT_ERROR(FanotifyJournal::Open(UniqueFd(::dup(memfd.get()))), ErrorCode::kDataLoss,
                    "bytes, not");
  struct stat status{};
  ASSERT_EQ(::fstat(journal_->memfd(), &status), 0);
  ASSERT_EQ(::ftruncate(memfd.get(), status.st_size), 0);
  FLOE_EXPECT_ERROR(FanotifyJournal::Open(std::move(memfd)), ErrorCode::kDataLoss,
                    "not a fanotify journal");
}

// Two readers; the event of the first is unanswered when its process is killed, that of the second
// comes after. Whether the numbers are occupied decides who gets the second's answer.
class CollisionTest : public FanotifyTest, public ::testing::WithParamInterface<bool> {};
INSTANTIATE_TEST_SUITE_P(Occupied, CollisionTest, ::testing::Bool());

TEST_P(CollisionTest, NumbersOfDeadEventsAreNotGivenToNewOnes) {
  const bool occupied = GetParam();
  const pid_t doomed = StartDoomedReader(/*look_at_file=*/true);
  auto first = ReadLater(first_);
  ASSERT_EQ(::waitpid(doomed, nullptr, 0), doomed);
  FanotifyEvent dead;
  {
    const auto inherited = Inherit();
    ASSERT_EQ(inherited->inherited().size(), 1U);
    FLOE_ASSERT_OK_AND_ASSIGN(dead, inherited->Event(inherited->inherited()[0]));
  }
  // The next number that is free here is that of the dead event.
  if (occupied) {
    FLOE_ASSERT_OK(Inherit()->OccupyNumbers());
  }
  auto second = ReadLater(second_);
  FLOE_ASSERT_OK_AND_ASSIGN(const FanotifyEvent fresh, journal_->Event(ReadEvent()));
  EXPECT_EQ(fresh.fd != dead.fd, occupied);

  Fill(second_, 'b');
  Allow(fresh.fd);
  if (!occupied) {
    // The kernel gave the answer to the older event: its reader saw the hole.
    EXPECT_EQ(first.get(), Filled('\0'));
    Allow(fresh.fd);
    EXPECT_EQ(second.get(), Filled('b'));
    return;
  }
  EXPECT_EQ(second.get(), Filled('b'));
  Fill(first_, 'a');
  Allow(dead.fd);
  EXPECT_EQ(first.get(), Filled('a'));
}

// Fills its file with a letter when it is asked.
class LetterHandler final : public DemandHandler {
 public:
  LetterHandler(const MarkedFile& file, char letter) : file_(file), letter_(letter) {}
  bool TryHit(ByteRange /*range*/) override { return filled_; }
  void Demand(ByteRange range, std::unique_ptr<DemandReply> reply) override {
    ++demands_;
    EXPECT_EQ(range, (ByteRange{.offset = 0, .length = kBytes}));
    const std::string bytes(kBytes, letter_);
    const auto done = PwriteAll(file_.filled.get(), std::as_bytes(std::span(bytes)), 0);
    filled_ = true;
    reply->Send(done);
  }
  void UseCacheFile(std::shared_ptr<CacheFile> /*file*/,
                    const std::vector<ByteRange>& /*present*/) override {}
  std::vector<ByteRange> Blanks(ByteRange /*range*/) override { return {}; }
  [[nodiscard]] int demands() const { return demands_; }

 private:
  const MarkedFile& file_;
  const char letter_;
  std::atomic<bool> filled_ = false;
  std::atomic<int> demands_ = 0;
};

class FanotifyTakeOverTest : public FanotifyTest {
 protected:
  void TakeOver(std::vector<std::string> keys) {
    auto journal = Inherit();
    FLOE_ASSERT_OK(journal->OccupyNumbers());
    auto channel = FanotifyChannel::TakeOver({}, {.group = UniqueFd(::dup(group_.get())),
                                                  .journal = std::move(journal),
                                                  .keys = std::move(keys)});
    FLOE_ASSERT_OK(channel);
    channel_ = std::move(*channel);
  }
  void Register(const MarkedFile& file, const std::string& key,
                const std::shared_ptr<LetterHandler>& handler) {
    auto registration = channel_->Register(
        {.key = key, .size_bytes = kBytes, .data_fd = file.filled.get()}, handler);
    FLOE_ASSERT_OK(registration);
    registrations_.push_back(std::move(*registration));
  }
  std::unique_ptr<FanotifyChannel> channel_;
  std::vector<std::unique_ptr<DeviceRegistration>> registrations_;
};

TEST_F(FanotifyTakeOverTest, AJournaledEventIsAnsweredByTheNextProcess) {
  const pid_t doomed = StartDoomedReader(/*look_at_file=*/true);
  auto first = ReadLater(first_);
  ASSERT_EQ(::waitpid(doomed, nullptr, 0), doomed);
  TakeOver({"first", "second"});
  const auto a = std::make_shared<LetterHandler>(first_, 'a');
  const auto b = std::make_shared<LetterHandler>(second_, 'b');
  Register(first_, "first", a);
  Register(second_, "second", b);
  channel_->Resume();
  EXPECT_EQ(first.get(), Filled('a'));
  EXPECT_EQ(ReadLater(second_).get(), Filled('b'));
  EXPECT_EQ(a->demands() + b->demands(), 2);
}

TEST_F(FanotifyTakeOverTest, AnEventWhoseFileNobodyKnowsIsFilledInAllOfThem) {
  const pid_t doomed = StartDoomedReader(/*look_at_file=*/false);
  auto first = ReadLater(first_);
  ASSERT_EQ(::waitpid(doomed, nullptr, 0), doomed);
  TakeOver({"first", "second"});
  const auto a = std::make_shared<LetterHandler>(first_, 'a');
  const auto b = std::make_shared<LetterHandler>(second_, 'b');
  Register(first_, "first", a);
  Register(second_, "second", b);
  channel_->Resume();
  EXPECT_EQ(first.get(), Filled('a'));
  EXPECT_EQ(a->demands(), 1);
  EXPECT_EQ(b->demands(), 1);
}

TEST_F(FanotifyTakeOverTest, WithAFileMissingAnEventOfAnUnknownOneFails) {
  const pid_t doomed = StartDoomedReader(/*look_at_file=*/false);
  auto first = ReadLater(first_);
  ASSERT_EQ(::waitpid(doomed, nullptr, 0), doomed);
  TakeOver({"first", "second"});
  Register(second_, "second", std::make_shared<LetterHandler>(second_, 'b'));
  channel_->Resume();
  EXPECT_EQ(first.get(), "errno " + std::to_string(EIO));
}

TEST_F(FanotifyTakeOverTest, AnEventOfAFileThatIsNotRegisteredFails) {
  TakeOver({});
  channel_->Resume();
  EXPECT_EQ(ReadLater(first_).get(), "errno " + std::to_string(EIO));
}

}  // namespace
}  // namespace floe::cachemgr
