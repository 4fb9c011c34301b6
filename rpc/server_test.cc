// Where the server listens and to whom; and the client against it.
#include "rpc/server.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <sstream>

#include "rpc/client_commands.h"
#include "rpc/service_test_support.h"

namespace imapmesh {
namespace {

using ServerTest = ServiceTest;

TEST_F(ServerTest, SocketIsTheOwnersAlone) {
  struct stat found {};
  ASSERT_EQ(stat(path_.c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0600u);
  ASSERT_EQ(stat((folder_ + "/run").c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0700u);
}

TEST_F(ServerTest, LiveSocketIsRefusedAndADeadOneReplaced) {
  EXPECT_EQ(Start(), nullptr);
  EXPECT_TRUE(absl::IsUnavailable(start_error_)) << start_error_;
  server_->Stop();
  const int dead = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path_.c_str(), sizeof(address.sun_path) - 1);
  ASSERT_EQ(bind(dead, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  close(dead);
  ASSERT_TRUE(std::filesystem::exists(path_));
  EXPECT_NE(Start(), nullptr) << start_error_;
}

TEST_F(ServerTest, BeyondLoopbackMutualTlsIsRequired) {
  for (const char* address : {"0.0.0.0:7443", "192.0.2.1:7443", "mail.example.org:7443", "[::]:7443"}) {
    options_.addresses = {address};
    EXPECT_EQ(Start(), nullptr) << address;
    EXPECT_TRUE(absl::IsInvalidArgument(start_error_)) << start_error_;
    EXPECT_NE(Message(start_error_).find("mutual TLS"), std::string::npos) << start_error_;
  }
  options_.insecure_loopback = true;
  options_.addresses = {"192.0.2.1:7443"};
  EXPECT_EQ(Start(), nullptr) << "that option is for loopback alone";
}

TEST_F(ServerTest, LoopbackIsServedWithoutTlsWhenNamedAndWarnedOf) {
  options_.addresses = {"127.0.0.1:0"};
  std::string warning;
  options_.warn = [&](const std::string& text) { warning += text; };
  const auto loopback = Start();
  ASSERT_NE(loopback, nullptr) << start_error_;
  EXPECT_NE(loopback->addresses()[0], "127.0.0.1:0");
  const auto stub =
      v1::Coordinator::NewStub(grpc::CreateChannel(loopback->addresses()[0], grpc::InsecureChannelCredentials()));
  v1::GetStatusReply reply;
  EXPECT_TRUE(stub->GetStatus(&context_, v1::GetStatusRequest(), &reply).ok());
  EXPECT_NE(warning.find("every user of this machine"), std::string::npos) << warning;
  warning.clear();
  options_.insecure_loopback = true;
  EXPECT_NE(Start(), nullptr) << start_error_;
  EXPECT_EQ(warning, "");
}

TEST_F(ServerTest, TlsFilesThatAreNoGoodAreNamed) {
  options_.addresses = {"127.0.0.1:0"};
  options_.tls_cert = "/nonexistent/cert.pem";
  EXPECT_EQ(Start(), nullptr);
  EXPECT_NE(Message(start_error_).find("go together"), std::string::npos) << start_error_;
  options_.tls_key = options_.tls_client_ca = "/nonexistent/key.pem";
  EXPECT_EQ(Start(), nullptr);
  EXPECT_NE(Message(start_error_).find("/nonexistent/key.pem"), std::string::npos) << start_error_;
}

TEST_F(ServerTest, BadAddressesAreRefused) {
  for (const char* address : {"", "nonsense", "host:", ":1", "host:99999", "host:1x", "unix:"}) {
    options_.addresses = {address};
    EXPECT_EQ(Start(), nullptr) << address;
    EXPECT_TRUE(absl::IsInvalidArgument(start_error_)) << address << ": " << start_error_;
  }
}

TEST_F(ServerTest, ClientPrintsAndReturnsTheContractsExitCodes) {
  ClientOptions options;
  options.address = "unix:" + path_;
  options.json = true;
  std::ostringstream out, error;
  const auto client = Client::Connect(options, out, error);
  ASSERT_TRUE(client.ok()) << client.status();
  EXPECT_EQ((*client)->Status(false), kExitDone);
  EXPECT_NE(out.str().find(R"("topology_name":"home")"), std::string::npos) << out.str();
  EXPECT_EQ((*client)->Pause("laptop:nowhere"), kExitUsage);
  EXPECT_NE(error.str().find("no edge laptop:nowhere"), std::string::npos) << error.str();
}

TEST_F(ServerTest, ClientSaysThatNobodyAnswers) {
  ClientOptions options;
  options.address = "unix:" + folder_ + "/absent.sock";
  std::ostringstream out, error;
  const auto client = Client::Connect(options, out, error);
  ASSERT_FALSE(client.ok());
  EXPECT_NE(Message(client.status()).find("is imapmeshd running"), std::string::npos) << client.status();
}

}  // namespace
}  // namespace imapmesh
