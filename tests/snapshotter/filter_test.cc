#include "snapshotter/filter.h"

#include <gtest/gtest.h>

#include "tests/support/result_matchers.h"

namespace floe::snapshotter {
namespace {

Info Sample() {
  return {.name = "ns/4/sha256:abc",
          .parent = "ns/3/base",
          .kind = Kind::kCommitted,
          .created = {},
          .updated = {},
          .labels = {{"foo", "bar"},
                     {"containerd.io/snapshot.ref", "sha256:abc"},
                     {"quoted \"key\"", "x, y"},
                     {"dotted.key", "1"}}};
}

bool Matches(const std::vector<std::string>& filters, const Info& info = Sample()) {
  auto filter = Filter::Parse(filters);
  EXPECT_TRUE(filter.has_value()) << filter.error().ToString();
  return filter && filter->Matches(info);
}

TEST(FilterTest, NoFiltersMatchEverything) {
  EXPECT_TRUE(Matches({}));
  EXPECT_TRUE(Matches({""}));
}

TEST(FilterTest, ComparesFields) {
  EXPECT_TRUE(Matches({"name==ns/4/sha256:abc"}));
  EXPECT_FALSE(Matches({"name==ns/4/sha256:abcd"}));
  EXPECT_TRUE(Matches({"parent==ns/3/base"}));
  EXPECT_TRUE(Matches({"parent!=other"}));
  EXPECT_FALSE(Matches({"parent!=ns/3/base"}));
  EXPECT_TRUE(Matches({"kind==committed"}));
  EXPECT_FALSE(Matches({"kind==active"}));
}

TEST(FilterTest, KnowsEveryKind) {
  Info info = Sample();
  info.kind = Kind::kActive;
  EXPECT_TRUE(Matches({"kind==active"}, info));
  info.kind = Kind::kView;
  EXPECT_TRUE(Matches({"kind==view"}, info));
}

TEST(FilterTest, AbsentParentEqualsTheEmptyString) {
  Info info = Sample();
  info.parent.clear();
  EXPECT_TRUE(Matches({"parent==\"\""}, info));
  EXPECT_FALSE(Matches({"parent!=\"\""}, info));
}

TEST(FilterTest, ContainerdsLookupOfARemoteSnapshot) {
  EXPECT_TRUE(Matches({R"(labels."containerd.io/snapshot.ref"==sha256:abc,parent=="ns/3/base")"}));
  EXPECT_FALSE(Matches({R"(labels."containerd.io/snapshot.ref"==sha256:abc,parent=="ns/2/base")"}));
  EXPECT_FALSE(Matches({R"(labels."containerd.io/snapshot.ref"==sha256:abd,parent=="ns/3/base")"}));
}

TEST(FilterTest, LabelPresence) {
  EXPECT_TRUE(Matches({"labels.foo"}));
  EXPECT_FALSE(Matches({"labels.bar"}));
  EXPECT_TRUE(Matches({R"(labels."quoted \"key\""=="x, y")"}));
  EXPECT_TRUE(Matches({"labels.dotted.key==1"}));
  EXPECT_TRUE(Matches({R"(labels."dotted.key"==1)"}));
}

TEST(FilterTest, AbsentLabelIsNotEqualToAnything) {
  EXPECT_FALSE(Matches({"labels.absent==\"\""}));
  EXPECT_TRUE(Matches({"labels.absent!=x"}));
}

TEST(FilterTest, CommaMeansAndSeveralFiltersMeanOr) {
  EXPECT_FALSE(Matches({"kind==committed,labels.foo==baz"}));
  EXPECT_TRUE(Matches({"kind==committed,labels.foo==bar"}));
  EXPECT_TRUE(Matches({"kind==active", "labels.foo==bar"}));
  EXPECT_FALSE(Matches({"kind==active", "kind==view"}));
}

TEST(FilterTest, RegularExpressionsAreSearched) {
  EXPECT_TRUE(Matches({"name~=sha256"}));
  EXPECT_TRUE(Matches({"name~=/^ns\\/4/"}));
  EXPECT_TRUE(Matches({"name~=|^ns/4|"}));
  EXPECT_TRUE(Matches({R"(name~="^ns/\\d/")"}));
  EXPECT_FALSE(Matches({"name~=|^sha256|"}));
}

TEST(FilterTest, UnknownFieldIsNeverPresent) {
  EXPECT_FALSE(Matches({"size"}));
  EXPECT_FALSE(Matches({"size==1"}));
  EXPECT_TRUE(Matches({"size!=1"}));
}

TEST(FilterTest, EscapesAreGos) {
  Info info = Sample();
  info.name = "a\tb\x01\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80'";
  EXPECT_TRUE(Matches({R"(name=="a\tb\x01\u00e9\u20ac\U0001f600'")"}, info));
  EXPECT_TRUE(Matches({R"(name=="\141\tb\001\u00E9\u20AC\U0001F600'")"}, info));
}

TEST(FilterTest, SpaceAroundTokensIsSkipped) {
  EXPECT_TRUE(Matches({" kind == committed , labels.foo == bar "}));
}

struct BadFilter {
  const char* text;
  const char* complaint;
};

class BadFilterTest : public ::testing::TestWithParam<BadFilter> {};

TEST_P(BadFilterTest, IsInvalidArgument) {
  FLOE_EXPECT_ERROR(Filter::Parse({GetParam().text}), ErrorCode::kInvalidArgument,
                    GetParam().complaint);
}

INSTANTIATE_TEST_SUITE_P(
    Texts, BadFilterTest,
    ::testing::Values(
        BadFilter{"==x", "expected a field"}, BadFilter{"name=", "expected one of"},
        BadFilter{"name=x", "expected one of"}, BadFilter{"name===x", "expected one of"},
        BadFilter{"name==", "expected a value"}, BadFilter{"name==,kind==view", "expected a value"},
        BadFilter{"name==a b", "expected a comma"}, BadFilter{"name==a,", "expected a field"},
        BadFilter{"labels.", "expected a field"}, BadFilter{"labels..x", "expected a field"},
        BadFilter{"na-me==x", "expected one of"}, BadFilter{R"(name=="x)", "quoted string"},
        BadFilter{R"(name=="\q")", "quoted string"}, BadFilter{R"(name=="\400")", "quoted string"},
        BadFilter{R"(name=="\ud800")", "quoted string"}, BadFilter{"name==/x/", "double quotes"},
        BadFilter{"name~=/(/", "missing )"}, BadFilter{"name==\xff", "expected a value"},
        BadFilter{"\xff", "expected a field"}, BadFilter{"name==\"a\nb\"", "quoted string"}));

TEST(FilterTest, ErrorsAreOneShortLine) {
  const auto filter = Filter::Parse({"name==\n\x01" + std::string(10000, 'x')});
  ASSERT_FALSE(filter.has_value());
  EXPECT_LT(filter.error().message.size(), 500U);
  EXPECT_EQ(filter.error().message.find('\n'), std::string::npos);
}

}  // namespace
}  // namespace floe::snapshotter
