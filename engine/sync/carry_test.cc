#include "engine/sync/carry.h"

#include <gtest/gtest.h>

namespace imapmesh {
namespace {

using std::chrono::seconds;

BodyPlace At(uint32_t uid) {
  return {MailboxCopyId(1), UidValidity(7), Uid(uid)};
}

ArrivedMessage Arrived(uint32_t uid, size_t bytes) {
  auto body = std::make_shared<Body>();
  EXPECT_TRUE(body->Append(std::string(bytes, 'x')).ok());
  ArrivedMessage arrived;
  arrived.uid = Uid(uid);
  arrived.size = bytes;
  arrived.body = std::move(body);
  return arrived;
}

MessageRegisters Known(size_t bytes) {
  MessageRegisters message;
  message.size = bytes;
  return message;
}

TEST(CarriedBodies, ThereIsRoomAgainOnceHalfWasTaken) {
  CarriedBodies carried(100);
  const Duration now = seconds(1);
  carried.Put(At(1), Arrived(1, 60), now);
  EXPECT_TRUE(carried.HasRoom());
  carried.Put(At(2), Arrived(2, 60), now);
  EXPECT_FALSE(carried.HasRoom());
  EXPECT_EQ(carried.Take(At(1), Known(60), now)->size(), 60u);
  EXPECT_FALSE(carried.HasRoom());
  EXPECT_EQ(carried.Take(At(1), Known(60), now), nullptr) << "an addition has it";
  EXPECT_NE(carried.Take(At(2), Known(60), now), nullptr);
  EXPECT_TRUE(carried.HasRoom());
}

TEST(CarriedBodies, OneMessageIsNotTakenForAnother) {
  CarriedBodies carried(100);
  const Duration now = seconds(1);
  carried.Put(At(1), Arrived(1, 60), now);
  BodyPlace elsewhere = At(1);
  elsewhere.uid_validity = UidValidity(8);
  EXPECT_EQ(carried.Take(elsewhere, Known(60), now), nullptr);
  EXPECT_EQ(carried.Take(At(1), Known(61), now), nullptr);
  carried.Put(At(1), Arrived(1, 60), now);
  MessageRegisters other = Known(60);
  other.identity[0] = 1;
  EXPECT_EQ(carried.Take(At(1), other, now), nullptr);
  carried.Put(At(1), Arrived(1, 60), now);
  carried.Put(At(1), Arrived(1, 70), now);
  EXPECT_EQ(carried.Take(At(1), Known(70), now)->size(), 70u) << "what was seen there last";
}

// What is under way is bounded too, by one replica or by many.
TEST(CarriedBodies, LooksShareWhatMayCome) {
  CarriedBodies carried(100);
  const CarriedBodies::Share one(carried), two(carried), three(carried);
  {
    const CarriedBodies::Share four(carried), five(carried);
    EXPECT_EQ(four.bytes(), 25u);
    EXPECT_EQ(five.bytes(), 0u);
  }
  EXPECT_EQ(CarriedBodies::Share(carried).bytes(), 25u);
  carried.Put(At(1), Arrived(1, 120), seconds(1));
  EXPECT_EQ(CarriedBodies::Share(carried).bytes(), 0u);
  EXPECT_EQ(one.bytes(), 25u);
}

TEST(CarriedBodies, WhatAPassLeftIsNotWanted) {
  CarriedBodies carried(100);
  const Duration now = seconds(1);
  carried.Put(At(1), Arrived(1, 120), now);
  carried.BeginPass();
  carried.Put(At(2), Arrived(2, 10), now);
  EXPECT_TRUE(carried.EndPass());
  EXPECT_TRUE(carried.HasRoom());
  EXPECT_EQ(carried.Take(At(1), Known(120), now), nullptr);
  EXPECT_FALSE(carried.EndPass());
  EXPECT_NE(carried.Take(At(2), Known(10), now), nullptr) << "it came while the pass was under way";
}

TEST(CarriedBodies, PatienceEndsWhenNobodyTakesAny) {
  CarriedBodies carried(100);
  carried.Put(At(1), Arrived(1, 60), seconds(1));
  carried.Put(At(2), Arrived(2, 60), seconds(2));
  const Duration ends = carried.PatienceEnds();
  EXPECT_GT(ends, seconds(2));
  EXPECT_NE(carried.Take(At(1), Known(60), seconds(5)), nullptr);
  EXPECT_EQ(carried.PatienceEnds(), ends + seconds(3));
  EXPECT_NE(carried.Take(At(2), Known(60), seconds(30)), nullptr) << "what is there stays for who wants it";
}

}  // namespace
}  // namespace imapmesh
