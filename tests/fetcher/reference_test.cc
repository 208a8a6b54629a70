#include "fetcher/reference.h"

#include <gtest/gtest.h>

#include "tests/support/result_matchers.h"

namespace floe::fetcher {
namespace {

const std::string kDigest = "sha256:" + std::string(64, 'a');

struct Row {
  std::string text, registry, path, tag, canonical;
};

TEST(ReferenceTest, FamiliarNamesAreCompleted) {
  const Row rows[] = {
      {"debian", "docker.io", "library/debian", "latest", "docker.io/library/debian:latest"},
      {"debian:12", "docker.io", "library/debian", "12", "docker.io/library/debian:12"},
      {"user/app", "docker.io", "user/app", "latest", "docker.io/user/app:latest"},
      {"docker.io/debian", "docker.io", "library/debian", "latest",
       "docker.io/library/debian:latest"},
      {"index.docker.io/user/app", "docker.io", "user/app", "latest", "docker.io/user/app:latest"},
      {"localhost/app", "localhost", "app", "latest", "localhost/app:latest"},
      {"localhost:5000/app:v1", "localhost:5000", "app", "v1", "localhost:5000/app:v1"},
      {"127.0.0.1:5000/a/b/c", "127.0.0.1:5000", "a/b/c", "latest", "127.0.0.1:5000/a/b/c:latest"},
      {"[::1]:5000/app", "[::1]:5000", "app", "latest", "[::1]:5000/app:latest"},
      {"[2001:db8::1]/app", "[2001:db8::1]", "app", "latest", "[2001:db8::1]/app:latest"},
      {"ghcr.io/o/a__b/c-d--e.f_g:T_1.2-3", "ghcr.io", "o/a__b/c-d--e.f_g", "T_1.2-3",
       "ghcr.io/o/a__b/c-d--e.f_g:T_1.2-3"},
      {"ghcr.io/o/a@" + kDigest, "ghcr.io", "o/a", "", "ghcr.io/o/a@" + kDigest},
      {"ghcr.io/o/a:v1@" + kDigest, "ghcr.io", "o/a", "v1", "ghcr.io/o/a:v1@" + kDigest},
      {"Upper/app", "Upper", "app", "latest", "Upper/app:latest"},
  };
  for (const Row& row : rows) {
    FLOE_ASSERT_OK_AND_ASSIGN(Reference reference, Reference::Parse(row.text));
    EXPECT_EQ(reference.repository.registry, row.registry) << row.text;
    EXPECT_EQ(reference.repository.path, row.path) << row.text;
    EXPECT_EQ(reference.tag, row.tag) << row.text;
    EXPECT_EQ(reference.ToString(), row.canonical);
  }
}

TEST(ReferenceTest, CanonicalFormParsesToItself) {
  for (std::string text : {"debian", "localhost:5000/a/b:c", "ghcr.io/o/a:v1"}) {
    FLOE_ASSERT_OK_AND_ASSIGN(Reference once, Reference::Parse(text));
    FLOE_ASSERT_OK_AND_ASSIGN(Reference twice, Reference::Parse(once.ToString()));
    EXPECT_EQ(once.ToString(), twice.ToString());
  }
}

TEST(ReferenceTest, TheDigestWinsOverTheTag) {
  FLOE_ASSERT_OK_AND_ASSIGN(Reference tag, Reference::Parse("a:v1"));
  EXPECT_EQ(tag.ManifestName(), "v1");
  FLOE_ASSERT_OK_AND_ASSIGN(Reference both, Reference::Parse("a:v1@" + kDigest));
  EXPECT_EQ(both.ManifestName(), kDigest);
}

TEST(ReferenceTest, WhatIsNoReferenceIsRefused) {
  const std::string bad[] = {
      "",
      ":",
      "a:",
      "a@",
      "a@sha256:1",
      "-a",
      "a-",
      "a..b",
      "a.-b",
      "a___b",
      "a//b",
      "/a",
      "a/",
      "A",
      "a/B",
      "a b",
      "a:b c",
      "a:-b",
      "host:0/a",
      "host:/a",
      "host:99999/a",
      "host:1x/a",
      "[::1/a",
      "http://host/a",
      "host.io/",
      "a\nb",
      "a/../b",
      "ho..st/a",
      "-host.io/a",
      "user@host.io/a",
      "a@sha512:" + std::string(128, 'a'),
      "a:" + std::string(129, 't'),
      std::string(300, 'a'),
  };
  for (const std::string& text : bad) {
    Result<Reference> reference = Reference::Parse(text);
    ASSERT_FALSE(reference.has_value()) << text;
    EXPECT_EQ(reference.error().code, ErrorCode::kInvalidArgument) << text;
  }
}

}  // namespace
}  // namespace floe::fetcher
