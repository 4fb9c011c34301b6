// The field `proxy`: what may stand there and what it means.
#include "graph/proxy.h"

#include <gtest/gtest.h>

namespace imapmesh {
namespace {

std::string Describe(std::string_view url) {
  const auto proxy = ParseProxy(url);
  if (!proxy.ok()) return Message(proxy.status()).substr(0, Message(proxy.status()).find(';'));
  return (proxy->resolves ? "there " : "here ") + proxy->username + "|" + proxy->password + "|" + proxy->host + "|" +
         std::to_string(proxy->port);
}

TEST(Proxy, TellsWhoResolvesNamesAndWhereItIs) {
  EXPECT_EQ(Describe("socks5://127.0.0.1:9050"), "here ||127.0.0.1|9050");
  EXPECT_EQ(Describe("socks5h://proxy.example.org"), "there ||proxy.example.org|1080");
  EXPECT_EQ(Describe("socks5h://proxy.example.org:1/"), "there ||proxy.example.org|1");
  EXPECT_EQ(Describe("socks5://[::1]:1081"), "here ||::1|1081");
}

TEST(Proxy, DecodesUserAndPassword) {
  EXPECT_EQ(Describe("socks5://alice:secret@h:1"), "here alice|secret|h|1");
  EXPECT_EQ(Describe("socks5://a%40b:%3a%2F%25%20@h:1"), "here a@b|:/% |h|1");
  EXPECT_EQ(Describe("socks5://alice:p@ss:w@h:1"), "here alice|p@ss:w|h|1") << "the last @ and the first : count";
}

TEST(Proxy, SaysWhatIsWrong) {
  EXPECT_EQ(Describe(""), "is no proxy that imapmesh knows");
  EXPECT_EQ(Describe("http://h:1"), "is no proxy that imapmesh knows");
  EXPECT_EQ(Describe("socks5://"), "has no host");
  EXPECT_EQ(Describe("socks5://:1080"), "has no host");
  EXPECT_EQ(Describe("socks5://h/x:1"), "has no host");
  EXPECT_EQ(Describe("socks5://h:0"), "has a port that is not 1 to 65535");
  EXPECT_EQ(Describe("socks5://h:65536"), "has a port that is not 1 to 65535");
  EXPECT_EQ(Describe("socks5://h:1x"), "has a port that is not 1 to 65535");
  EXPECT_EQ(Describe("socks5://::1:1080"), "has an IPv6 address without brackets, or two ports");
  EXPECT_EQ(Describe("socks5://[::1"), "has a [ without a ]");
  EXPECT_EQ(Describe("socks5://[host]:1"), "has brackets around what is no IPv6 address");
  EXPECT_EQ(Describe("socks5://alice@h:1"), "needs both user and password before the @, or neither");
  EXPECT_EQ(Describe("socks5://:p@h:1"), "needs both user and password before the @, or neither");
  EXPECT_EQ(Describe("socks5://a:%4@h:1"),
            "has a % that is not followed by two hexadecimal figures in user or password");
  EXPECT_EQ(Describe("socks5://" + std::string(256, 'a') + ":p@h:1"),
            "has a user or password of more than 255 bytes, which SOCKS5 cannot carry");
}

TEST(Proxy, NeverShowsTheValue) {
  for (const char* url :
       {"http://u:hunter2@h", "socks5://hunter2@h", "socks5://u:hunter2%@h", "socks5://u:hunter2@h:x"}) {
    EXPECT_EQ(Message(ParseProxy(url).status()).find("hunter2"), std::string::npos) << url;
  }
}

}  // namespace
}  // namespace imapmesh
