// Layers written as zstd:chunked and eStargz, decoded again by zlib and libzstd alone.
#include <gtest/gtest.h>

#include "image/convert/layer_converter.h"
#include "image/convert/seekable_footer.h"
#include "tests/image/convert_support.h"
#include "tests/image/gzip_support.h"
#include "tests/image/layer_support.h"
#include "tests/image/tar_support.h"
#include "tests/support/result_matchers.h"

namespace floe::image {
namespace {

using ::testing::Contains;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Key;
using ::testing::Not;
using ::testing::StartsWith;

constexpr uint64_t kChunk = 4096;
constexpr SeekableFormat kAllFormats[] = {SeekableFormat::kZstdChunked, SeekableFormat::kEStargz,
                                          SeekableFormat::kEStargzExternalToc};

std::string Text(size_t bytes) {
  std::string text;
  for (uint32_t i = 0; text.size() < bytes; ++i) {
    text += "line " + std::to_string(i * 2654435761U) + "\n";
  }
  return text.substr(0, bytes);
}

std::string SampleTar() {
  TarArchive tar;
  tar.Directory("d/", 0711)
      .File("d/empty")
      .File("d/small", "hello")
      .File("d/large", Text(3 * kChunk + 17))
      .File("d/exact", Text(2 * kChunk))
      .Symlink("d/link", "small")
      .HardLink("d/hard", "d/small");
  tar.Add("d/null", "", {.type = '3', .mode = 0666, .dev_major = 1, .dev_minor = 3});
  tar.Add("d/fine", "x",
          {.uid = 7,
           .gid = 8,
           .pax = {{"mtime", "1700000000.25"}, {"SCHILY.xattr.user.a", std::string("b\0c", 3)}}});
  return tar.File("d/.wh.gone").End().bytes();
}

SeekableOptions OptionsOf(SeekableFormat format) {
  SeekableOptions options;
  options.format = format;
  options.chunk_bytes = kChunk;
  return options;
}

std::string DecodeAll(const Converted& converted, SeekableFormat format) {
  return format == SeekableFormat::kZstdChunked ? UnzstdAll(converted.blob)
                                                : GunzipAll(converted.blob);
}

nlohmann::json Row(const nlohmann::json& toc, const std::string& name) {
  for (const auto& row : toc["entries"]) {
    if (row["name"] == name) {
      return row;
    }
  }
  return {};
}

class ConvertLayerTest : public ::testing::TestWithParam<SeekableFormat> {
 protected:
  Converted ConvertSample() {
    auto converted = Convert(GzipMember(SampleTar()), OptionsOf(GetParam()));
    EXPECT_TRUE(converted.has_value()) << (converted ? "" : converted.error().ToString());
    return converted ? *converted : Converted();
  }
  nlohmann::json Toc(const Converted& converted) {
    return nlohmann::json::parse(TocOf(converted, GetParam()));
  }
};

TEST_P(ConvertLayerTest, KeepsTheArchive) {
  const Converted converted = ConvertSample();
  const std::string archive = DecodeAll(converted, GetParam());
  EXPECT_EQ(converted.layer.blob.diff_id, Digest::Of(archive));
  EXPECT_EQ(converted.layer.blob.archive_bytes, archive.size());
  EXPECT_EQ(converted.layer.source_diff_id, Digest::Of(SampleTar()));
  EXPECT_EQ(converted.layer.blob.digest, Digest::Of(converted.blob));
  EXPECT_EQ(converted.layer.blob.size_bytes, converted.blob.size());
  if (GetParam() == SeekableFormat::kEStargz) {
    constexpr size_t kEndBytes = 1024;
    const std::string entries = SampleTar().substr(0, SampleTar().size() - kEndBytes);
    EXPECT_EQ(archive.substr(1024, entries.size()), entries);  // Behind the landmark.
    EXPECT_THAT(archive, StartsWith(".no.prefetch.landmark"));
    EXPECT_THAT(archive.substr(1024 + entries.size()), StartsWith("stargz.index.json"));
    EXPECT_THAT(archive, EndsWith(std::string(kEndBytes, '\0')));
  } else {
    EXPECT_EQ(archive, SampleTar());
  }
}

TEST_P(ConvertLayerTest, EachPieceDecodesAlone) {
  const Converted converted = ConvertSample();
  const std::vector<TocPiece> pieces = Pieces(Toc(converted));
  const size_t expected = GetParam() == SeekableFormat::kEStargz ? 9U : 8U;  // The landmark.
  EXPECT_EQ(pieces.size(), expected);
  EXPECT_EQ(converted.layer.blob.chunks, expected);
  for (const TocPiece& piece : pieces) {
    const std::string bytes = DecodePiece(converted.blob, piece, GetParam());
    EXPECT_EQ(bytes.size(), piece.length) << piece.name;
    EXPECT_EQ(Digest::Of(bytes).ToString(), piece.digest) << piece.name;
  }
}

TEST_P(ConvertLayerTest, RowsSayWhatTheHeadersSay) {
  const nlohmann::json toc = Toc(ConvertSample());
  EXPECT_EQ(toc["version"], 1);
  EXPECT_EQ(Row(toc, "d/")["type"], "dir");
  EXPECT_EQ(Row(toc, "d/")["mode"], 0711);
  EXPECT_EQ(Row(toc, "d/link")["linkName"], "small");
  EXPECT_EQ(Row(toc, "d/hard")["type"], "hardlink");
  EXPECT_EQ(Row(toc, "d/hard")["linkName"], "d/small");
  EXPECT_EQ(Row(toc, "d/null")["type"], "char");
  EXPECT_EQ(Row(toc, "d/null")["devMinor"], 3);
  EXPECT_EQ(Row(toc, "d/fine")["modtime"], "2023-11-14T22:13:20.25Z");
  EXPECT_EQ(Row(toc, "d/fine")["xattrs"]["user.a"], "YgBj");
  EXPECT_EQ(Row(toc, "d/fine")["uid"], 7);
  EXPECT_EQ(Row(toc, "d/.wh.gone")["type"], "reg");
  EXPECT_EQ(Row(toc, "d/large")["size"], 3 * kChunk + 17);
  EXPECT_EQ(Row(toc, "d/large")["chunkSize"], kChunk);
  EXPECT_EQ(Row(toc, "d/large")["digest"], Digest::Of(Text(3 * kChunk + 17)).ToString());
  EXPECT_FALSE(Row(toc, "d/small").contains("chunkSize"));
  EXPECT_FALSE(Row(toc, "d/empty").contains("offset"));
}

TEST_P(ConvertLayerTest, AnnotationsMatchTheTable) {
  const Converted converted = ConvertSample();
  const auto& annotations = converted.layer.blob.annotations;
  EXPECT_EQ(annotations.at("containerd.io/snapshot/stargz/toc.digest"),
            Digest::Of(TocOf(converted, GetParam())).ToString());
  EXPECT_EQ(annotations.at("io.containers.estargz.uncompressed-size"),
            std::to_string(converted.layer.blob.archive_bytes));
}

TEST_P(ConvertLayerTest, EqualInputGivesEqualBytesHoweverItComes) {
  const std::string tar = SampleTar() + std::string(3U << 20U, '\0');
  FLOE_ASSERT_OK_AND_ASSIGN(const Converted whole, Convert(tar, OptionsOf(GetParam()), tar.size()));
  FLOE_ASSERT_OK_AND_ASSIGN(const Converted bits, Convert(tar, OptionsOf(GetParam()), 777));
  FLOE_ASSERT_OK_AND_ASSIGN(const Converted gzip,
                            Convert(GzipMember(tar), OptionsOf(GetParam()), 1));
  FLOE_ASSERT_OK_AND_ASSIGN(const Converted zstd,
                            Convert(ZstdFrame(tar), OptionsOf(GetParam()), 100));
  EXPECT_TRUE(bits.blob == whole.blob);
  EXPECT_TRUE(gzip.blob == whole.blob);
  EXPECT_TRUE(zstd.blob == whole.blob);
  EXPECT_TRUE(zstd.layer.blob.toc_blob == whole.layer.blob.toc_blob);
}

TEST_P(ConvertLayerTest, AnEarlierConversionIsConvertedAgain) {
  for (SeekableFormat before : kAllFormats) {
    FLOE_ASSERT_OK_AND_ASSIGN(const Converted first, Convert(SampleTar(), OptionsOf(before)));
    FLOE_ASSERT_OK_AND_ASSIGN(const Converted second, Convert(first.blob, OptionsOf(GetParam())));
    if (GetParam() == SeekableFormat::kEStargz) {
      EXPECT_TRUE(DecodeAll(second, GetParam()) == DecodeAll(ConvertSample(), GetParam()));
    } else {
      EXPECT_EQ(second.layer.blob.diff_id, first.layer.blob.diff_id);
    }
  }
}

TEST_P(ConvertLayerTest, TakesAnArchiveThatEndsEarly) {
  const std::string cut_in_padding = TarArchive().File("a", "abc").bytes().substr(0, 515);
  for (const std::string& tar : {std::string(), cut_in_padding, TarArchive().End().bytes()}) {
    FLOE_ASSERT_OK_AND_ASSIGN(const Converted converted, Convert(tar, OptionsOf(GetParam())));
    const std::string archive = DecodeAll(converted, GetParam());
    if (GetParam() == SeekableFormat::kEStargz) {
      FLOE_EXPECT_OK(Convert(converted.blob, OptionsOf(GetParam())));
      EXPECT_EQ(archive.size() % 512, 0U);
    } else {
      EXPECT_EQ(archive, tar);
    }
  }
}

TEST_P(ConvertLayerTest, RefusesWhatTheTableCannotTell) {
  TarArchive sparse;
  sparse.Add("holes", "data",
             {.pax = {{"GNU.sparse.major", "0"},
                      {"GNU.sparse.minor", "1"},
                      {"GNU.sparse.size", "1000"},
                      {"GNU.sparse.numblocks", "1"},
                      {"GNU.sparse.map", "10,4"}}});
  FLOE_EXPECT_ERROR(Convert(sparse.End().bytes(), OptionsOf(GetParam())), ErrorCode::kUnimplemented,
                    "'holes' is sparse");
  FLOE_EXPECT_ERROR(Convert(TarArchive().File("n\xFF", "x").End().bytes(), OptionsOf(GetParam())),
                    ErrorCode::kUnimplemented, "'n\\xff': a name that is not UTF-8");
  TarArchive late;
  late.Add("late", "", {.pax = {{"mtime", "999999999999999"}}});
  FLOE_EXPECT_ERROR(Convert(late.End().bytes(), OptionsOf(GetParam())), ErrorCode::kUnimplemented,
                    "'late'");
  TarArchive odd;
  odd.Add("odd", "x", {.type = 'X'});
  FLOE_EXPECT_ERROR(Convert(odd.End().bytes(), OptionsOf(GetParam())), ErrorCode::kUnimplemented,
                    "'odd': tar type 88");
}

TEST_P(ConvertLayerTest, RefusesWrongBytes) {
  const std::string blob = GzipMember(SampleTar());
  FLOE_EXPECT_ERROR(Convert(blob.substr(0, blob.size() - 9), OptionsOf(GetParam())),
                    ErrorCode::kDataLoss, "cut off");
  FLOE_EXPECT_ERROR(Convert(blob + "tail", OptionsOf(GetParam())), ErrorCode::kInvalidArgument,
                    "what follows member 1");
  std::string corrupt = blob;
  corrupt[corrupt.size() / 2] = static_cast<char>(corrupt[corrupt.size() / 2] ^ 0x55);
  EXPECT_FALSE(Convert(corrupt, OptionsOf(GetParam())).has_value());
  const std::string frame = ZstdFrame(SampleTar());
  FLOE_EXPECT_ERROR(Convert(frame.substr(0, frame.size() - 1), OptionsOf(GetParam())),
                    ErrorCode::kDataLoss, "cut off");
  FLOE_EXPECT_ERROR(Convert(SampleTar().substr(0, 700), OptionsOf(GetParam())),
                    ErrorCode::kInvalidArgument, "cut off");
}

INSTANTIATE_TEST_SUITE_P(AllFormats, ConvertLayerTest, ::testing::ValuesIn(kAllFormats),
                         [](const auto& test) {
                           switch (test.param) {
                             case SeekableFormat::kZstdChunked:
                               return "ZstdChunked";
                             case SeekableFormat::kEStargz:
                               return "EStargz";
                             case SeekableFormat::kEStargzExternalToc:
                               return "ExternalToc";
                           }
                           return "";
                         });

class LayerConverterTest : public ::testing::Test {
 protected:
  Result<ConvertedLayer> Run(const LayerSource& source, std::string_view blob,
                             const ConvertOptions& options = {}) {
    FLOE_ASSIGN_OR_RETURN(auto converter,
                          LayerConverter::Create(source, options, [this](std::string_view) {
                            return sink_failure_.has_value() ? Result<void>(*sink_failure_) : Ok();
                          }));
    FLOE_RETURN_IF_ERROR(converter->Feed(std::as_bytes(std::span(blob))));
    return converter->Finish();
  }
  std::optional<Error> sink_failure_;
};

TEST_F(LayerConverterTest, ChecksDigestSizeAndDiffId) {
  const std::string blob = GzipMember(SampleTar());
  LayerSource source = SourceOf(blob);
  source.digest = Digest::Of("other");
  FLOE_EXPECT_ERROR(Run(source, blob), ErrorCode::kDataLoss, "its bytes have the digest");
  source = SourceOf(blob);
  source.size_bytes -= 1;
  FLOE_EXPECT_ERROR(Run(source, blob), ErrorCode::kDataLoss, "more than the");
  source.size_bytes += 2;
  FLOE_EXPECT_ERROR(Run(source, blob), ErrorCode::kDataLoss, "the manifest says");
  source = SourceOf(blob);
  source.diff_id = Digest::Of("other");
  FLOE_EXPECT_ERROR(Run(source, blob), ErrorCode::kDataLoss, "the image's configuration says");
  source.diff_id = Digest::Of(SampleTar());
  FLOE_EXPECT_OK(Run(source, blob));
}

TEST_F(LayerConverterTest, StopsAtALimitAndAtTheSink) {
  const std::string blob = GzipMember(SampleTar());
  ConvertOptions options;
  options.max_decoded_bytes = 10000;
  FLOE_EXPECT_ERROR(Run(SourceOf(blob), blob, options), ErrorCode::kInvalidArgument,
                    "more than 10000 bytes");
  sink_failure_ = ResourceExhausted("the disk is full");
  FLOE_EXPECT_ERROR(Run(SourceOf(blob), blob), ErrorCode::kResourceExhausted, "the disk is full");
}

TEST_F(LayerConverterTest, RefusesOptionsOutOfRange) {
  ConvertOptions options;
  options.seekable.chunk_bytes = 100;
  FLOE_EXPECT_ERROR(Run(SourceOf("x"), "x", options), ErrorCode::kInvalidArgument, "chunks of 100");
  options = {};
  options.seekable.level = 20;
  FLOE_EXPECT_ERROR(Run(SourceOf("x"), "x", options), ErrorCode::kInvalidArgument, "1 to 19");
  options.seekable.format = SeekableFormat::kEStargz;
  options.seekable.level = 10;
  FLOE_EXPECT_ERROR(Run(SourceOf("x"), "x", options), ErrorCode::kInvalidArgument, "1 to 9");
}

class ZstdChunkedTest : public ::testing::Test {
 protected:
  static Result<Converted> Podman(std::string_view tar) {
    SeekableOptions options = OptionsOf(SeekableFormat::kZstdChunked);
    options.annotations = ZstdAnnotations::kPodman;
    return Convert(tar, options);
  }
  /// The part of the blob that an annotation "offset:length..." points to.
  static std::string_view Part(const Converted& converted, const std::string& annotation) {
    const std::string& position = converted.layer.blob.annotations.at(annotation);
    size_t used = 0;
    const uint64_t offset = std::stoull(position, &used);
    const uint64_t length = std::stoull(position.substr(used + 1));
    return std::string_view(converted.blob).substr(offset, length);
  }
};

constexpr const char* kPodmanChecksum = "io.github.containers.zstd-chunked.manifest-checksum";
constexpr const char* kPodmanPosition = "io.github.containers.zstd-chunked.manifest-position";
constexpr const char* kPodmanTarSplit = "io.github.containers.zstd-chunked.tarsplit-position";

TEST_F(ZstdChunkedTest, SpeaksToOneReaderAtATime) {
  FLOE_ASSERT_OK_AND_ASSIGN(const Converted podman, Podman(SampleTar()));
  FLOE_ASSERT_OK_AND_ASSIGN(const Converted stargz,
                            Convert(SampleTar(), OptionsOf(SeekableFormat::kZstdChunked)));
  EXPECT_TRUE(podman.blob == stargz.blob);
  EXPECT_THAT(podman.layer.blob.annotations,
              Not(Contains(Key("containerd.io/snapshot/stargz/toc.digest"))));
  EXPECT_THAT(stargz.layer.blob.annotations, Not(Contains(Key(kPodmanChecksum))));
  const std::string_view toc = Part(podman, kPodmanPosition);
  EXPECT_EQ(podman.layer.blob.annotations.at(kPodmanChecksum), Digest::Of(toc).ToString());
  EXPECT_EQ(UnzstdAll(toc), TocOf(podman, SeekableFormat::kZstdChunked));
  EXPECT_TRUE(Part(stargz, "io.containers.zstd-chunked.manifest-position") == toc);
}

// The archive again, from the tar-split stream and the files' pieces.
TEST_F(ZstdChunkedTest, TarSplitAndFilesMakeTheArchive) {
  FLOE_ASSERT_OK_AND_ASSIGN(const Converted converted, Podman(SampleTar()));
  const std::string_view stream = Part(converted, kPodmanTarSplit);
  const auto toc = nlohmann::json::parse(TocOf(converted, SeekableFormat::kZstdChunked));
  EXPECT_EQ(toc["tarSplitDigest"], Digest::Of(stream).ToString());
  std::map<std::string, std::string> files;
  for (const TocPiece& piece : Pieces(toc)) {
    files[piece.name] += DecodePiece(converted.blob, piece, SeekableFormat::kZstdChunked);
  }
  uint64_t decoded = 0;
  std::istringstream lines(UnzstdAll(stream));
  int position = 0;
  for (std::string line; std::getline(lines, line); ++position) {
    const auto row = nlohmann::json::parse(line);
    EXPECT_EQ(row["position"], position);
    if (row["type"] == 1) {
      EXPECT_EQ(files[row["name"]].size(), row.value("size", uint64_t{0}));
      decoded += files[row["name"]].size();
    } else {
      const std::string payload = row["payload"];
      const size_t padding = payload.size() - payload.find_last_not_of('=') - 1;
      decoded += payload.size() / 4 * 3 - padding;
    }
  }
  EXPECT_EQ(decoded, SampleTar().size());
}

// podman would refuse the layer; without tar-split it takes it whole.
TEST_F(ZstdChunkedTest, NoTarSplitWherePodmanWouldRefuse) {
  TarArchive times;
  times.Add("a", "x", {.pax = {{"atime", "1"}}});
  for (const std::string& tar :
       {TarArchive().File("a", "1").File("a", "2").End().bytes(), times.End().bytes(),
        TarArchive().Special('g', PaxRecord("comment", "x")).File("a").End().bytes()}) {
    FLOE_ASSERT_OK_AND_ASSIGN(const Converted converted, Podman(tar));
    EXPECT_THAT(converted.layer.blob.annotations, Not(Contains(Key(kPodmanTarSplit))));
    EXPECT_THAT(TocOf(converted, SeekableFormat::kZstdChunked), Not(HasSubstr("tarSplitDigest")));
    EXPECT_EQ(UnzstdAll(converted.blob), tar);
  }
}

TEST(SeekableFooterTest, FootersHaveTheirSizes) {
  EXPECT_EQ(EStargzFooter(0x1234).size(), 51U);
  EXPECT_THAT(EStargzFooter(0x1234), HasSubstr("0000000000001234STARGZ"));
  EXPECT_EQ(ExternalTocFooter().size(), 46U);
  EXPECT_EQ(ZstdChunkedFooter({}).size(), 40U);
  EXPECT_EQ(GunzipAll(EStargzFooter(1)), "");
  EXPECT_EQ(GunzipAll(ExternalTocFooter()), "");
}

// The check value of CRC-64/GO-ISO.
TEST(Crc64IsoTest, CheckValue) {
  Crc64Iso crc;
  crc.Update(std::as_bytes(std::span(std::string_view("123456789"))));
  EXPECT_EQ(crc.value(), 0xB90956C775A41001U);
}

TEST(FormatRfc3339Test, AllTimes) {
  const auto text = [](int64_t seconds, uint32_t nanoseconds) {
    auto result = FormatRfc3339(seconds, nanoseconds);
    return result ? *result : result.error().ToString();
  };
  EXPECT_EQ(text(0, 0), "1970-01-01T00:00:00Z");
  EXPECT_EQ(text(-1, 500000000), "1969-12-31T23:59:59.5Z");
  EXPECT_EQ(text(951782400, 1), "2000-02-29T00:00:00.000000001Z");
  EXPECT_EQ(text(-62167219200, 0), "0000-01-01T00:00:00Z");
  EXPECT_EQ(text(253402300799, 0), "9999-12-31T23:59:59Z");
  FLOE_EXPECT_ERROR(FormatRfc3339(253402300800, 0), ErrorCode::kOutOfRange, "RFC 3339");
  FLOE_EXPECT_ERROR(FormatRfc3339(INT64_MIN, 0), ErrorCode::kOutOfRange, "RFC 3339");
}

}  // namespace
}  // namespace floe::image
