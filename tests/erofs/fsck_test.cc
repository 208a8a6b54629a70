// What Debian's erofs-utils makes of bootstraps.
#include <sys/wait.h>

#include <array>
#include <cstdio>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "erofs/writer.h"
#include "tests/erofs/kernel_mount.h"
#include "tests/erofs/layer_fixture.h"
#include "tests/erofs/sample_layers.h"
#include "tests/erofs/tree_dump.h"
#include "tests/support/result_matchers.h"
#include "tests/support/temp_dir.h"

namespace floe::erofs::testing {
namespace {

/// Runs a shell command; its output goes to `output`.
int RunCommand(const std::string& command, std::string& output) {
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) {
    return -1;
  }
  std::array<char, 4096> buffer{};
  output.clear();
  while (const size_t read = std::fread(buffer.data(), 1, buffer.size(), pipe)) {
    output.append(buffer.data(), read);
  }
  const int status = ::pclose(pipe);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

class FsckTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string output;
    if (RunCommand("fsck.erofs -V", output) != 0) {
      GTEST_SKIP() << "no fsck.erofs (erofs-utils)";
    }
  }

  /// fsck.erofs over the bootstrap with its devices; `arguments` go in front.
  void ExpectAccepted(const std::vector<const LayerFixture*>& layers, WhiteoutForm form,
                      const std::string& arguments = "") {
    FLOE_ASSERT_OK_AND_ASSIGN(const Bootstrap bootstrap, Stack(layers).Write(form));
    FLOE_ASSERT_OK_AND_ASSIGN(
        const std::vector<std::string> paths,
        WriteImageFiles(work_.path(), bootstrap.bytes, DevicesOf(bootstrap, layers)));
    std::string command = "fsck.erofs -d3 " + arguments;
    for (size_t i = 1; i < paths.size(); ++i) {
      command += " --device=" + paths[i];
    }
    std::string output;
    EXPECT_EQ(RunCommand(command + " " + paths[0], output), 0) << output;
    EXPECT_THAT(output,
                ::testing::AnyOf(::testing::HasSubstr("No errors found"),
                                 ::testing::HasSubstr("Extracted filesystem successfully")));
  }

  floe::testing::TempDir work_;
};

TEST_F(FsckTest, AcceptsTheSample) {
  ExpectAccepted(SampleLayers().layers(), WhiteoutForm::kApply);
}

TEST_F(FsckTest, AcceptsARunInOverlayForm) {
  LayerFixture layer;
  layer.Whiteout("a").Dir("d").Opaque("d").File("d/f", "f").Whiteout("sub/b").File("implied/x", "");
  ExpectAccepted({&layer}, WhiteoutForm::kOverlay);
}

TEST_F(FsckTest, AcceptsAnEmptyLayer) {
  const LayerFixture layer;
  ExpectAccepted({&layer}, WhiteoutForm::kApply);
}

TEST_F(FsckTest, ExtractsTheContentsThroughTheChunks) {
  LayerFixture layer;
  // Holes would say nothing here: fsck.erofs 1.5 leaves them out when it extracts.
  layer.File("a", TestContent(100000, 1))
      .Sparse("b", 50000, {{0, TestContent(8192, 2)}, {8192, TestContent(41808, 4)}});
  layer.UseBlob(1).File("c", TestContent(70000, 3)).Symlink("s", "a").Dir("d", {.mode = 0750});
  const std::string into = (work_ / "out").native();
  ExpectAccepted({&layer}, WhiteoutForm::kApply, "--extract=" + into);
  const Tree extracted = DumpDirectory(into);
  FLOE_ASSERT_OK_AND_ASSIGN(const Tree expected, Merge({&layer}));
  EXPECT_EQ(Paths(extracted), Paths(expected));
  for (const char* path : {"a", "b", "c", "s"}) {
    EXPECT_TRUE(extracted.at(path).content == expected.at(path).content) << path;
  }
}

}  // namespace
}  // namespace floe::erofs::testing
