#include "engine/replica/known_body.h"

#include <gtest/gtest.h>

#include <string>

#include "engine/replica/header_digest.h"

namespace imapmesh {
namespace {

constexpr char kHeader[] = "Message-ID: <1@example.org>\r\nSubject: one\r\n\r\n";
constexpr char kOther[] = "Message-ID: <2@example.org>\r\nSubject: two\r\n\r\n";

bool IsAnother(const std::string& content, uint64_t known_size) {
  Body body;
  EXPECT_TRUE(body.Append(content).ok());
  return IsAnotherMessage(body, known_size, IdentifyHeader(kHeader).digest);
}

TEST(KnownBody, OtherHeaderFieldsAndAnotherSizeAreAnotherMessage) {
  EXPECT_TRUE(IsAnother(std::string(kOther) + "a longer body", 50));
  EXPECT_FALSE(IsAnother(std::string(kHeader) + "a body", sizeof kHeader - 1 + 6));
}

TEST(KnownBody, TheSizeAloneTellsNothing) {
  EXPECT_FALSE(IsAnother(std::string(kHeader) + "a body", 5000)) << "some servers count what they do not send";
}

TEST(KnownBody, AHeaderThatServersMayReadInDifferentWaysTellsNothing) {
  EXPECT_FALSE(IsAnother("Subject: two\r\nand no end", 5000));
  EXPECT_FALSE(IsAnother("", 5000));
}

TEST(KnownBody, WhatIsTooLongForMemoryIsReadAsWell) {
  Body body(/*memory_limit=*/1000);
  EXPECT_TRUE(body.Append(std::string(kOther) + std::string(100'000, 'x')).ok());
  EXPECT_TRUE(IsAnotherMessage(body, 50, IdentifyHeader(kHeader).digest));
}

}  // namespace
}  // namespace imapmesh
