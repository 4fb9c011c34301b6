#include "base/printable.h"

#include <gtest/gtest.h>

namespace imapmesh {
namespace {

TEST(Printable, KeepsTextThatATerminalOnlyShows) {
  EXPECT_EQ(Printable("Entwürfe/重要 ok"), "Entwürfe/重要 ok");
}

TEST(Printable, EscapesWhatATerminalWouldObey) {
  EXPECT_EQ(Printable("a\x1b[2Jb\r\n"), "a\\x1b[2Jb\\x0d\\x0a");
  EXPECT_EQ(Printable("\xc2\x9b"), "\\xc2\\x9b");
  EXPECT_EQ(Printable("\xe2\x80\xae"), "\\xe2\\x80\\xae");
}

TEST(Printable, EscapesBytesThatAreNoUtf8) {
  EXPECT_EQ(Printable("\xff\xc3"), "\\xff\\xc3");
  EXPECT_EQ(Printable("\xc0\xaf"), "\\xc0\\xaf");
}

TEST(Printable, CutsLongText) {
  EXPECT_EQ(Printable(std::string(50, 'x'), 10), std::string(10, 'x') + "…");
}

}  // namespace
}  // namespace imapmesh
