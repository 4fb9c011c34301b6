// Where secrets come from, and what is told when they do not.
#include "engine/replica/credentials.h"

#include <gtest/gtest.h>

#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <cstdlib>
#include <fstream>
#include <optional>

namespace imapmesh {
namespace {

class CredentialsTest : public testing::Test {
 protected:
  CredentialsTest() : clock_(MakeSystemClock(io_.get_executor())), folder_(testing::TempDir()) {}

  std::string Text(asio::awaitable<absl::StatusOr<std::string>> asked) {
    std::optional<absl::StatusOr<std::string>> answer;
    auto run = [&]() -> asio::awaitable<void> { answer = co_await std::move(asked); };
    asio::co_spawn(io_, run(), asio::detached);
    io_.restart();
    io_.run();
    return answer->ok() ? **answer : "error: " + Message(answer->status());
  }
  std::string Read(const v1::Auth& auth) { return Text(ReadPassword(io_.get_executor(), *clock_, auth, folder_)); }

  asio::io_context io_;
  std::unique_ptr<Clock> clock_;
  std::string folder_;
};

TEST_F(CredentialsTest, TheFirstLineOfACommandOrFileCounts) {
  v1::Auth auth;
  auth.set_password_command("printf 'secret word\\r\\nmore\\n'");
  EXPECT_EQ(Read(auth), "secret word");
  std::ofstream(folder_ + "/mail.secret") << "from a file\nmore\n";
  auth.set_password_file("mail.secret");
  EXPECT_EQ(Read(auth), "from a file");
  auth.set_password_file(folder_ + "/mail.secret");
  EXPECT_EQ(Read(auth), "from a file");
}

TEST_F(CredentialsTest, ACredentialOfSystemdIsAFileInItsFolder) {
  v1::Auth auth;
  auth.set_password_file("${CREDENTIALS_DIRECTORY}/mail");
  ::unsetenv("CREDENTIALS_DIRECTORY");
  EXPECT_EQ(Read(auth),
            "error: auth.password_file names the credential mail, but systemd passed none to this process; add "
            "LoadCredential=mail:FILE to the service");
  ::setenv("CREDENTIALS_DIRECTORY", folder_.c_str(), 1);
  std::ofstream(folder_ + "/mail") << "from systemd";
  EXPECT_EQ(Read(auth), "from systemd");
  ::unsetenv("CREDENTIALS_DIRECTORY");
}

TEST_F(CredentialsTest, TellsWhichSourceFailedAndNothingOfItsOutput) {
  v1::Auth auth;
  auth.set_password_command("echo hunter2; echo locked >&2; exit 3");
  const std::string failed = Read(auth);
  EXPECT_EQ(failed, "error: auth.password_command ended with exit status 3: locked");
  auth.set_password_command("true");
  EXPECT_EQ(Read(auth), "error: auth.password_command printed nothing");
  auth.set_password_file("missing.secret");
  EXPECT_EQ(Read(auth),
            "error: auth.password_file " + folder_ + "/missing.secret cannot be read: No such file or directory");
  std::ofstream(folder_ + "/empty.secret") << "\nsecond\n";
  auth.set_password_file("empty.secret");
  EXPECT_EQ(Read(auth), "error: the first line of auth.password_file " + folder_ + "/empty.secret is empty");
  auth.set_password_env("NO_SUCH_VARIABLE");
  EXPECT_EQ(Read(auth),
            "error: the environment variable NO_SUCH_VARIABLE (auth.password_env) is not set for the daemon");
}

TEST_F(CredentialsTest, ATokenIsKeptUntilItIsRefused) {
  const std::string counter = folder_ + "/runs";
  ::unlink(counter.c_str());
  TokenSource source(io_.get_executor(), *clock_, "echo >> runs; sleep 0.2; wc -l < runs", folder_);
  EXPECT_EQ(Text(source.Token("")), "1");
  EXPECT_EQ(Text(source.Token("")), "1");
  EXPECT_EQ(Text(source.Token("1")), "2");
  EXPECT_EQ(Text(source.Token("1")), "2") << "another connection has fetched a new one since";
}

TEST_F(CredentialsTest, ConnectionsThatNeedATokenAtOnceShareIt) {
  ::unlink((folder_ + "/runs").c_str());
  TokenSource source(io_.get_executor(), *clock_, "echo >> runs; sleep 0.2; wc -l < runs", folder_);
  std::string first;
  auto run = [&]() -> asio::awaitable<void> {
    const auto token = co_await source.Token("");
    first = token.value_or("none");
  };
  asio::co_spawn(io_, run(), asio::detached);
  EXPECT_EQ(Text(source.Token("")), "1");
  EXPECT_EQ(first, "1");
}

}  // namespace
}  // namespace imapmesh
