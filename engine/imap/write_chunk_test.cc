// Texts and messages in their order; a message is not copied on its way to the stream.
#include "engine/imap/write_chunk.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace imapmesh::imap {
namespace {

std::shared_ptr<const Body> BodyOf(const std::string& text, size_t memory_limit = 1 << 20) {
  auto body = std::make_shared<Body>(memory_limit);
  EXPECT_TRUE(body->Append(text).ok());
  return body;
}

std::string Joined(const WriteChunk& chunk) {
  std::string all;
  for (const std::string_view part : chunk.Parts()) all += part;
  return all;
}

TEST(WriteChunkTest, AMessageIsWrittenFromWhereItLies) {
  const std::string text(10'000, 'm');
  const auto body = BodyOf(text);
  WriteChunk chunk;
  chunk.AddText("A1 APPEND INBOX {10000+}\r\n");
  ASSERT_TRUE(chunk.AddBody(body, 0, text.size()).ok());
  chunk.AddText("\r\n");
  const auto parts = chunk.Parts();
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_EQ(static_cast<const void*>(parts[1].data()), static_cast<const void*>(body->memory().data()));
  EXPECT_EQ(parts[1].size(), text.size());
  EXPECT_EQ(Joined(chunk), "A1 APPEND INBOX {10000+}\r\n" + text + "\r\n");
  EXPECT_EQ(chunk.size(), Joined(chunk).size());
}

TEST(WriteChunkTest, TextsAndSmallMessagesAreOnePart) {
  WriteChunk chunk;
  chunk.AddText("A1 ");
  chunk.AddText("");
  chunk.AddText("APPEND ");
  ASSERT_TRUE(chunk.AddBody(BodyOf("Subject: x\r\n"), 0, 12).ok());
  EXPECT_EQ(chunk.Parts().size(), 1u);
  EXPECT_EQ(Joined(chunk), "A1 APPEND Subject: x\r\n");
}

TEST(WriteChunkTest, APieceOfAMessageInAFileIsReadIntoIt) {
  const std::string text = std::string(5'000, 'x') + std::string(5'000, 'y');
  const auto body = BodyOf(text, 100);
  ASSERT_FALSE(body->in_memory());
  WriteChunk chunk;
  chunk.AddText("{10000}");
  ASSERT_TRUE(chunk.AddBody(body, 4'000, 2'000).ok());
  EXPECT_EQ(Joined(chunk), "{10000}" + text.substr(4'000, 2'000));
  EXPECT_TRUE(absl::IsDataLoss(chunk.AddBody(body, 9'000, 2'000)));
}

TEST(WriteChunkTest, AMessageLivesAsLongAsItIsToBeWritten) {
  const std::string text(10'000, 'm');
  auto body = BodyOf(text);
  const std::weak_ptr<const Body> watched = body;
  WriteChunk chunk;
  ASSERT_TRUE(chunk.AddBody(std::move(body), 0, text.size()).ok());
  EXPECT_FALSE(watched.expired());
  EXPECT_EQ(Joined(chunk), text);
  chunk.Clear();
  EXPECT_TRUE(watched.expired());
  EXPECT_EQ(chunk.size(), 0u);
}

}  // namespace
}  // namespace imapmesh::imap
