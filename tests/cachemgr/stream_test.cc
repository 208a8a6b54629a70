#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <atomic>
#include <future>
#include <thread>

#include "cachemgr/cache/evictor.h"
#include "cachemgr/cache/unit_filler.h"
#include "tests/cachemgr/stream_fixture.h"
#include "tests/cachemgr/test_blob.h"

namespace floe::cachemgr::testing {
namespace {

using floe::testing::FakeRegistry;
using floe::testing::Fault;
using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::string SampleTar(int files = 60, uint32_t seed = 1) {
  image::TarArchive archive;
  archive.Directory("usr/");
  for (int i = 0; i < files; ++i) {
    const auto number = static_cast<uint32_t>(i);
    archive.File("usr/f" + std::to_string(i), RandomBytes(number * 1777U % 90000U, number + seed));
  }
  return archive.HardLink("usr/link", "usr/f5").End().bytes();
}

std::string ZstdFrames(std::string_view data) {
  std::string blob;
  for (; !data.empty(); data.remove_prefix(std::min<size_t>(data.size(), 100000))) {
    const std::string_view part = data.substr(0, 100000);
    std::string frame(ZSTD_compressBound(part.size()), '\0');
    frame.resize(ZSTD_compress(frame.data(), frame.size(), part.data(), part.size(), 1));
    blob += frame;
  }
  return blob;
}

TEST_F(StreamTest, APlainLayerIsAsIfEveryUnitHadBeenFilled) {
  const std::string blob = SampleTar();
  ExpectStreamed(Request(blob), blob);
  EXPECT_EQ(counters_.layers_streamed, 1U);
  EXPECT_EQ(counters_.streamed_bytes, blob.size());
  EXPECT_EQ(counters_.fetched_bytes, blob.size());
  EXPECT_EQ(registry_.CountRequests("GET", "/blobs/"), 1);
}

TEST_F(StreamTest, AGzipLayer) {
  const std::string blob = image::GzipMember(SampleTar());
  StreamRequest request = Request(blob);
  request.diff_id = Digest::Of(SampleTar());
  ExpectStreamed(request, blob);
}

TEST_F(StreamTest, AZstdLayer) {
  const std::string blob = ZstdFrames(SampleTar());
  ExpectStreamed(Request(blob), blob);
}

TEST_F(StreamTest, TheWindowsDecodeTheUnitsOnceTheBlobWasEvicted) {
  std::string text;
  for (int i = 0; text.size() < 2000000; ++i) {
    text += "line " + std::to_string(i * 7919 % 10007) + " of a text that repeats itself\n";
  }
  const std::string blob =
      image::GzipMember(image::TarArchive().File("text", text).End().bytes(), {.mem_level = 4});
  FLOE_ASSERT_OK_AND_ASSIGN(const auto streamed, Stream(Request(blob)));
  EXPECT_FALSE(streamed->windows.empty());
  FLOE_ASSERT_OK_AND_ASSIGN(image::LayerIndex index, image::DecodeLayerIndex(streamed->tree));
  const image::IndexedLayer layer{.index = std::move(index), .windows = streamed->windows};
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string device, image::FillDevice(layer, blob));
  EXPECT_TRUE(device == DataFile(streamed->device_key));
}

TEST_F(StreamTest, ReplacedNamesTakeNoPlaceOnTheDevice) {
  image::TarArchive archive;
  archive.File("a", RandomBytes(5000, 1)).File("b", RandomBytes(3000000, 2));
  archive.File("c", RandomBytes(100, 3)).File("b", RandomBytes(10000, 4)).File(".wh.gone", "x");
  archive.File("d", RandomBytes(2000000, 5)).File("a", "small").File("e", RandomBytes(4096, 6));
  const std::string blob = image::GzipMember(archive.End().bytes());
  ExpectStreamed(Request(blob), blob);
}

TEST_F(StreamTest, SparseFiles) {
  const auto sparse = [](uint64_t size, const std::string& map, int runs) {
    return image::TarArchive::Options{.pax = {{"GNU.sparse.major", "0"},
                                              {"GNU.sparse.minor", "1"},
                                              {"GNU.sparse.numblocks", std::to_string(runs)},
                                              {"GNU.sparse.map", map},
                                              {"GNU.sparse.size", std::to_string(size)}}};
  };
  image::TarArchive archive;
  archive.File("junk", RandomBytes(300000, 1));
  archive.Add("holes", RandomBytes(70010, 2),
              sparse(5000000, "0,10,300000,60000,2000000,10000", 3));
  archive.Add("near", "xyyzz", sparse(300000, "0,1,196606,2,196608,2", 3));
  archive.File("plain", RandomBytes(9000, 3)).Add("tail", "t", sparse(70000, "66000,1", 1));
  const std::string kept = archive.bytes();
  archive.End();
  ExpectStreamed(Request(archive.bytes()), archive.bytes());
  // The same once more, moved up over what lay there: a hole at the end must not show it.
  image::TarArchive moved;
  moved.Raw(kept).File("junk", "small");
  moved.Add("tail", "t", sparse(70000, "66000,1", 1)).End();
  ExpectStreamed(Request(moved.bytes()), moved.bytes());
}

TEST_F(StreamTest, LayersWithoutContentHaveNoBlob) {
  const std::string blobs[] = {
      "", image::TarArchive().End().bytes(),
      image::GzipMember(image::TarArchive().Directory("d/").File("empty").End().bytes())};
  for (const std::string& blob : blobs) {
    FLOE_ASSERT_OK_AND_ASSIGN(const auto streamed, Stream(Request(blob)));
    EXPECT_EQ(streamed->device_key, "");
    FLOE_EXPECT_OK(image::DecodeLayerIndex(streamed->tree));
    EXPECT_THAT(Names(), IsEmpty());
  }
}

TEST_F(StreamTest, TheCallerDoesNotWaitForTheDisk) {
  const std::string blob = SampleTar();
  FLOE_ASSERT_OK_AND_ASSIGN(const auto streamed, Stream(Request(blob)));
  const auto opened = store_->Opened();
  ASSERT_THAT(opened, SizeIs(1));
  EXPECT_FALSE(opened[0]->cache().complete());
  EXPECT_TRUE(opened[0]->cache().IsMountable());
  FLOE_ASSERT_OK(opened[0]->cache().Checkpoint());
  EXPECT_TRUE(opened[0]->cache().complete());
}

TEST_F(StreamTest, TheBlobIsCompleteForTheNextProcess) {
  const std::string blob = image::GzipMember(SampleTar());
  const StreamRequest request = Request(blob);
  FLOE_ASSERT_OK_AND_ASSIGN(const auto streamed, Stream(request));
  Restart();
  ExpectInCache(*streamed, request, blob);
}

// What must not become a blob.

TEST_F(StreamTest, OtherBytesThanTheDigests) {
  const std::string blob = image::GzipMember(SampleTar());
  StreamRequest request = Request(blob);
  request.diff_id = Digest::Of("another archive");
  FLOE_EXPECT_ERROR(Stream(request), ErrorCode::kDataLoss, "its archive has the digest");
  EXPECT_THAT(Names(), IsEmpty());
  EXPECT_EQ(counters_.streams_failed, 1U);
  EXPECT_EQ(counters_.layers_streamed, 0U);
}

TEST_F(StreamTest, AWrongByteIsFoundByTheDigest) {
  const std::string blob = SampleTar();
  const StreamRequest request = Request(blob);
  // The first byte after the connection was lost, in the middle of a file.
  registry_.InjectFault({.kind = Fault::Kind::kReset, .path_contains = "/blobs/", .bytes = 300000});
  registry_.InjectFault({.kind = Fault::Kind::kCorrupt, .path_contains = "/blobs/"});
  FLOE_EXPECT_ERROR(Stream(request), ErrorCode::kDataLoss, "its bytes have the digest");
  EXPECT_THAT(Names(), IsEmpty());
  EXPECT_EQ(counters_.faults.at(static_cast<size_t>(FaultKind::kWrongBytes)).all, 1U);
  EXPECT_EQ(counters_.integrity_errors, 1U);
  ExpectStreamed(request, blob);
}

TEST_F(StreamTest, AnotherSourceIsAskedForWrongBytes) {
  const std::string blob = SampleTar();
  FakeRegistry second;
  second.AddBlob("app", blob);
  StreamRequest request = Request(blob);
  request.sources.push_back(From(second));
  registry_.InjectFault({.kind = Fault::Kind::kReset, .path_contains = "/blobs/", .bytes = 300000});
  registry_.InjectFault({.kind = Fault::Kind::kCorrupt, .path_contains = "/blobs/"});
  ExpectStreamed(request, blob);
  EXPECT_EQ(counters_.faults.at(static_cast<size_t>(FaultKind::kWrongBytes)).retried, 1U);
}

TEST_F(StreamTest, AnotherSizeThanTheRegistrys) {
  const std::string blob = SampleTar();
  StreamRequest request = Request(blob);
  request.size_bytes += 1;
  FLOE_EXPECT_ERROR(Stream(request), ErrorCode::kDataLoss, "");
  EXPECT_THAT(Names(), IsEmpty());
}

TEST_F(StreamTest, WhatIsNoLayer) {
  const std::string blob(5000, 'x');
  FLOE_EXPECT_ERROR(Stream(Request(blob)), ErrorCode::kInvalidArgument, "not a tar header");
  FLOE_EXPECT_ERROR(Stream({}), ErrorCode::kInvalidArgument, "without a digest or a source");
  EXPECT_THAT(Names(), IsEmpty());
}

// Registries.

TEST_F(StreamTest, ALostConnectionIsResumed) {
  const std::string blob = image::GzipMember(SampleTar());
  registry_.InjectFault({.kind = Fault::Kind::kReset, .path_contains = "/blobs/", .bytes = 300000});
  registry_.InjectFault(
      {.kind = Fault::Kind::kShortBody, .path_contains = "/blobs/", .bytes = 200000});
  ExpectStreamed(Request(blob), blob);
  EXPECT_EQ(registry_.CountRequests("GET", "/blobs/"), 3);
}

TEST_F(StreamTest, TheNextSourceGoesOnWhereOneFails) {
  const std::string blob = image::GzipMember(SampleTar());
  FakeRegistry second;
  second.AddBlob("app", blob);
  StreamRequest request = Request(blob);
  request.sources.push_back(From(second));
  registry_.InjectFault({.kind = Fault::Kind::kReset, .path_contains = "/blobs/", .bytes = 300000});
  registry_.InjectFault({.path_contains = "/blobs/", .times = Fault::kForever, .status = 404});
  ExpectStreamed(request, blob);
  EXPECT_EQ(second.CountRequests("GET", "/blobs/"), 1);
}

TEST_F(StreamTest, TheErrorIsTheLastSources) {
  const std::string blob = SampleTar();
  FakeRegistry second;
  StreamRequest request = Request(blob);
  request.sources.push_back(From(second));
  registry_.InjectFault({.path_contains = "/blobs/", .times = Fault::kForever, .status = 503});
  FLOE_EXPECT_ERROR(Stream(request), ErrorCode::kNotFound, "");
  EXPECT_THAT(Names(), IsEmpty());
  EXPECT_GE(counters_.faults.at(static_cast<size_t>(FaultKind::kServerError)).retried, 1U);
}

TEST_F(StreamTest, OnlyALackOfProgressEndsIt) {
  const std::string blob = SampleTar(20);
  // Takes several times the stall timeout, but moves all the time.
  registry_.InjectFault({.kind = Fault::Kind::kSlow,
                         .path_contains = "/blobs/",
                         .bytes = blob.size() / 20,
                         .interval = std::chrono::milliseconds(60)});
  ExpectStreamed(Request(blob), blob);
  const std::string other = SampleTar(20, 77);
  registry_.InjectFault({.kind = Fault::Kind::kStall,
                         .path_contains = "/blobs/",
                         .times = Fault::kForever,
                         .bytes = 0});
  FLOE_EXPECT_ERROR(Stream(Request(other)), ErrorCode::kUnavailable, "");
  EXPECT_THAT(Names(), SizeIs(1));
}

// Callers.

TEST_F(StreamTest, ACancelledCallLeavesNothing) {
  const std::string blob = SampleTar();
  std::atomic<uint64_t> done = 0;
  StreamControl control{.progress = [&](uint64_t bytes) { done = bytes; },
                        .cancelled = [&] { return done > blob.size() / 2; }};
  FLOE_EXPECT_ERROR(Stream(Request(blob), control), ErrorCode::kCancelled, "gave up");
  EXPECT_GT(done, 0U);
  EXPECT_THAT(Names(), IsEmpty());
  EXPECT_EQ(counters_.streams_failed, 0U);
}

TEST_F(StreamTest, ACallIsCancelledAlsoWhileNothingComes) {
  registry_options_.stall_timeout = std::chrono::seconds(60);
  const std::string blob = SampleTar();
  registry_.InjectFault({.kind = Fault::Kind::kStall, .path_contains = "/blobs/", .bytes = 100000});
  int calls = 0;
  StreamControl control{.progress = [&](uint64_t) { ++calls; },
                        .cancelled =
                            [&, start = std::chrono::steady_clock::now()] {
                              return std::chrono::steady_clock::now() - start >
                                     std::chrono::milliseconds(500);
                            }};
  const auto start = std::chrono::steady_clock::now();
  FLOE_EXPECT_ERROR(Stream(Request(blob), control), ErrorCode::kCancelled, "");
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
  EXPECT_THAT(Names(), IsEmpty());
}

TEST_F(StreamTest, StopEndsWhatRunsAndWhatComes) {
  const std::string blob = SampleTar();
  StreamControl control{.progress = [&](uint64_t bytes) {
    if (bytes > 0) {
      streamer_->Stop();
    }
  }};
  FLOE_EXPECT_ERROR(Stream(Request(blob), control), ErrorCode::kCancelled, "");
  FLOE_EXPECT_ERROR(Stream(Request(blob)), ErrorCode::kCancelled, "");
  EXPECT_THAT(Names(), IsEmpty());
}

TEST_F(StreamTest, ASecondCallerGetsWhatTheFirstGets) {
  const std::string blob = SampleTar();
  const StreamRequest request = Request(blob);
  std::promise<void> started;
  std::promise<void> second_waits;
  std::atomic<bool> is_started = false;
  StreamControl first{.progress = [&](uint64_t) {
    if (!is_started.exchange(true)) {
      started.set_value();
      second_waits.get_future().wait();
    }
  }};
  auto one = std::async(std::launch::async, [&] { return Stream(request, first); });
  started.get_future().wait();
  std::atomic<bool> is_waiting = false;
  StreamControl second{.progress = [&](uint64_t) {
    if (!is_waiting.exchange(true)) {
      second_waits.set_value();
    }
  }};
  const auto other = Stream(request, second);
  FLOE_ASSERT_OK(other);
  const auto mine = one.get();
  FLOE_ASSERT_OK(mine);
  EXPECT_EQ(mine->get(), other->get());
  EXPECT_EQ(registry_.CountRequests("GET", "/blobs/"), 1);
  EXPECT_EQ(counters_.layers_streamed, 1U);
}

TEST_F(StreamTest, WhoWaitedForACancelledCallStreamsItself) {
  const std::string blob = SampleTar();
  const StreamRequest request = Request(blob);
  std::promise<void> started;
  std::atomic<bool> is_started = false;
  std::atomic<bool> second_waits = false;
  StreamControl first{.progress =
                          [&](uint64_t) {
                            if (!is_started.exchange(true)) {
                              started.set_value();
                            }
                            while (!second_waits) {
                              std::this_thread::yield();
                            }
                          },
                      .cancelled = [&] { return second_waits.load(); }};
  auto one = std::async(std::launch::async, [&] { return Stream(request, first); });
  started.get_future().wait();
  StreamControl second{.progress = [&](uint64_t) { second_waits = true; }};
  FLOE_ASSERT_OK_AND_ASSIGN(const auto streamed, Stream(request, second));
  ExpectInCache(*streamed, request, blob);
  FLOE_EXPECT_ERROR(one.get(), ErrorCode::kCancelled, "");
}

TEST_F(StreamTest, SeveralLayersSideBySide) {
  std::vector<std::string> blobs;
  std::vector<std::future<StreamFlights::Outcome>> calls;
  for (uint32_t i = 0; i < 2 * LayerStreamer::kMaxStreams; ++i) {
    blobs.push_back(image::GzipMember(SampleTar(15, i * 100)));
  }
  for (const std::string& blob : blobs) {
    calls.push_back(std::async(std::launch::async,
                               [this, request = Request(blob)] { return Stream(request); }));
  }
  for (size_t i = 0; i < blobs.size(); ++i) {
    const auto outcome = calls[i].get();
    FLOE_ASSERT_OK(outcome);
    ExpectInCache(**outcome, Request(blobs[i]), blobs[i]);
  }
  EXPECT_THAT(Names(), SizeIs(blobs.size()));
}

// What is in the cache already.

TEST_F(StreamTest, ACompleteBlobIsNotWrittenTwice) {
  const std::string blob = image::GzipMember(SampleTar());
  const StreamRequest request = Request(blob);
  FLOE_ASSERT_OK_AND_ASSIGN(const auto first, Stream(request));
  struct stat before{};
  ASSERT_EQ(::stat((Blobs() / first->device_key / "data").c_str(), &before), 0);
  StreamControl control{.progress = [&](uint64_t) { EXPECT_THAT(Names(), SizeIs(1)); }};
  FLOE_ASSERT_OK_AND_ASSIGN(const auto second, Stream(request, control));
  EXPECT_EQ(second->tree, first->tree);
  EXPECT_EQ(second->windows, first->windows);
  EXPECT_EQ(second->device_key, first->device_key);
  struct stat after{};
  ASSERT_EQ(::stat((Blobs() / first->device_key / "data").c_str(), &after), 0);
  EXPECT_EQ(after.st_ino, before.st_ino);
  EXPECT_EQ(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
  EXPECT_EQ(counters_.streamed_bytes, blob.size());
}

TEST_F(StreamTest, ABlobOfAnotherLayoutIsNoReplacement) {
  const std::string blob = image::GzipMember(SampleTar());
  const StreamRequest request = Request(blob);
  FLOE_ASSERT_OK_AND_ASSIGN(const auto other, Index(request, blob, 64U << 10U));
  const std::string map = image::EncodeBlobMap(other.index, 0);
  FLOE_ASSERT_OK(WriteFileAtomically(directory_ / "map", map));
  FLOE_ASSERT_OK_AND_ASSIGN(const auto acquired, store_->Acquire({.key = image::DeviceKey(map),
                                                                  .blob_map = directory_ / "map"}));
  std::vector<uint32_t> all;
  for (uint32_t group = 0; group < acquired->map().group_count(); ++group) {
    all.push_back(group);
  }
  ASSERT_TRUE(acquired->cache().MarkPresent(all, *acquired->cache().target().file));
  FLOE_ASSERT_OK(acquired->cache().Checkpoint());
  ExpectStreamed(request, blob);
  EXPECT_THAT(Names(), SizeIs(2));
}

TEST_F(StreamTest, ABlobThatIsFilledInPartGetsTheRest) {
  const std::string blob = SampleTar();
  const StreamRequest request = Request(blob);
  FLOE_ASSERT_OK_AND_ASSIGN(const auto layer, Index(request, blob));
  const std::string map = image::EncodeBlobMap(layer.index, 0);
  FLOE_ASSERT_OK(WriteFileAtomically(directory_ / "map", map));
  FLOE_ASSERT_OK_AND_ASSIGN(const auto acquired, store_->Acquire({.key = image::DeviceKey(map),
                                                                  .blob_map = directory_ / "map"}));
  const ByteRange unit = acquired->map().unit(1).range;
  UnitFiller filler;
  FLOE_ASSERT_OK(filler.Fill(acquired->map(), acquired->cache(), 1,
                             std::as_bytes(std::span(blob)).subspan(unit.offset, unit.length), {}));
  struct stat before{};
  ASSERT_EQ(::fstat(acquired->cache().data_fd(), &before), 0);
  ExpectStreamed(request, blob);
  EXPECT_TRUE(acquired->cache().AllPresent()) << "the same blob, whoever has it";
  struct stat after{};
  ASSERT_EQ(::stat((Blobs() / acquired->map().key() / "data").c_str(), &after), 0);
  EXPECT_EQ(after.st_ino, before.st_ino);
  EXPECT_THAT(Names(), ElementsAre(acquired->map().key()));
}

TEST_F(StreamTest, ABlobThatCannotBeOpenedIsReplaced) {
  const std::string blob = SampleTar();
  const StreamRequest request = Request(blob);
  FLOE_ASSERT_OK_AND_ASSIGN(const auto streamed, Stream(request));
  FLOE_ASSERT_OK(WriteFileAtomically(Blobs() / streamed->device_key / "map", "not a map"));
  Restart();
  ExpectStreamed(request, blob);
}

TEST_F(StreamTest, WhatAKilledProcessLeftHalfMadeGoes) {
  FLOE_ASSERT_OK(CreateDirectories(Blobs() / (BlobStore::kHalfMadePrefix + "abc123")));
  FLOE_ASSERT_OK(
      WriteFileAtomically(Blobs() / (BlobStore::kHalfMadePrefix + "abc123") / "data", "half"));
  Restart();
  EXPECT_THAT(Names(), IsEmpty());
}

TEST_F(StreamTest, TheEvictorLeavesAHalfMadeBlobAlone) {
  Evictor evictor({.limits = {.max_bytes = 1}, .directory = Blobs()}, *store_, Clock::Real());
  const std::string blob = SampleTar();
  StreamControl control{.progress = [&](uint64_t) {
    evictor.KeepLimits();
    EXPECT_FALSE(evictor.MakeRoom());
  }};
  const StreamRequest request = Request(blob);
  FLOE_ASSERT_OK_AND_ASSIGN(const auto streamed, Stream(request, control));
  ExpectInCache(*streamed, request, blob);
  evictor.KeepLimits();
  EXPECT_THAT(Names(), IsEmpty());
}

// Full disks.

TEST(DeviceWriterTest, MakesRoomAsLongAsItHelps) {
  FLOE_ASSERT_OK_AND_ASSIGN(const UniqueFd full, OpenFile("/dev/full", O_RDWR));
  int asked = 0;
  DeviceWriter writer(full.get(), [&] { return ++asked < 3; });
  const image::TarFragment run{.file_offset = 0, .archive_offset = 512, .length = 5};
  FLOE_ASSERT_OK(writer.OnFile({&run, 1}, 5));
  const std::string bytes = "bytes";
  FLOE_ASSERT_OK(writer.OnContent(512, std::as_bytes(std::span(bytes))));
  const auto finished = writer.Finish({}, 4096);
  FLOE_EXPECT_ERROR(finished, ErrorCode::kResourceExhausted, "no room in the cache");
  EXPECT_THAT(finished.error().message, ::testing::Not(HasSubstr("\n")));
  EXPECT_EQ(asked, 3);
}

TEST(DeviceWriterTest, RefusesContentThatNoFileHas) {
  const floe::testing::TempDir directory;
  FLOE_ASSERT_OK_AND_ASSIGN(const UniqueFd fd, OpenFile(directory / "data", O_RDWR | O_CREAT));
  DeviceWriter writer(fd.get());
  const std::string bytes = "bytes";
  FLOE_EXPECT_ERROR(writer.OnContent(512, std::as_bytes(std::span(bytes))), ErrorCode::kInternal,
                    "content of no file at 512");
  const image::Placement placement{.archive_offset = 512, .length = 5, .device_offset = 0};
  FLOE_EXPECT_ERROR(writer.Finish({&placement, 1}, 4096), ErrorCode::kInternal,
                    "no content at 512");
}

/// The store lies on a file system of 2 MiB.
class FullDiskStreamTest : public StreamTest {
 protected:
  void SetUp() override {
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mkdir(Disk().c_str(), 0700) != 0 ||
        ::mount("tmpfs", Disk().c_str(), "tmpfs", 0, "size=2m") != 0) {
      GTEST_SKIP() << "cannot mount a small disk: " << ErrnoError(errno, "mount").message;
    }
    StreamTest::SetUp();
  }
  void TearDown() override {
    if (filler_ != nullptr) {
      StreamTest::TearDown();
    }
    store_.reset();
    (void)::umount2(Disk().c_str(), MNT_DETACH);
  }
  [[nodiscard]] std::filesystem::path Disk() const { return directory_ / "disk"; }
  [[nodiscard]] std::filesystem::path Blobs() const override { return Disk() / "blobs"; }
};

TEST_F(FullDiskStreamTest, SaysSoInOneLineAndLeavesNothing) {
  const std::string blob = SampleTar();
  ASSERT_GT(blob.size(), 2U << 20U);
  const auto outcome = Stream(Request(blob));
  FLOE_EXPECT_ERROR(outcome, ErrorCode::kResourceExhausted, "no room in the cache");
  EXPECT_THAT(outcome.error().message, ::testing::Not(HasSubstr("\n")));
  EXPECT_THAT(Names(), IsEmpty());
}

TEST_F(FullDiskStreamTest, GoesOnOnceThereIsRoom) {
  const std::string ballast = RandomBytes(1U << 20U, 1);
  FLOE_ASSERT_OK(WriteFileAtomically(Disk() / "ballast", ballast));
  make_room_ = [&] {
    const bool there = std::filesystem::remove(Disk() / "ballast");
    return there;
  };
  const std::string blob = SampleTar(42);
  ASSERT_GT(blob.size(), 1U << 20U);
  ASSERT_LT(blob.size(), 3U << 19U);
  ExpectStreamed(Request(blob), blob);
  EXPECT_FALSE(std::filesystem::exists(Disk() / "ballast"));
}

}  // namespace
}  // namespace floe::cachemgr::testing
