// What `imapmeshd certs` makes, judged by OpenSSL's own verification; and what a role may call.
#include "rpc/certificates.h"

#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <sstream>

#include "rpc/certs_command.h"
#include "rpc/exit_codes.h"
#include "rpc/pem_files.h"

namespace imapmesh {
namespace {

constexpr int64_t kHour = 3'600;

Validity Around(int64_t unix_s) {
  Validity validity;
  validity.not_before_unix_s = unix_s - kHour;
  validity.not_after_unix_s = unix_s + kHour;
  return validity;
}

X509* Parse(const std::string& pem) {
  BIO* bio = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  X509* certificate = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
  BIO_free(bio);
  return certificate;
}

// Whether `pem` is good for `purpose` (X509_PURPOSE_SSL_SERVER, X509_PURPOSE_SSL_CLIENT) in the eyes of who trusts
// `authority`, with the strictest checks of RFC 5280 that OpenSSL has.
bool Verifies(const std::string& authority, const std::string& pem, int purpose) {
  X509_STORE* store = X509_STORE_new();
  X509* trusted = Parse(authority);
  X509* certificate = Parse(pem);
  X509_STORE_add_cert(store, trusted);
  X509_STORE_CTX* context = X509_STORE_CTX_new();
  X509_STORE_CTX_init(context, store, certificate, nullptr);
  X509_STORE_CTX_set_purpose(context, purpose);
  X509_STORE_CTX_set_flags(context, X509_V_FLAG_X509_STRICT);
  const bool good = X509_verify_cert(context) == 1;
  X509_STORE_CTX_free(context);
  X509_free(certificate);
  X509_free(trusted);
  X509_STORE_free(store);
  return good;
}

class Certificates : public testing::Test {
 protected:
  const int64_t now_ = std::time(nullptr);
  const CertifiedKey authority_ = *MakeAuthority("test authority", Around(now_));
};

TEST_F(Certificates, ServerIsGoodForServingUnderItsNamesOnly) {
  const auto server = IssueServer(authority_, {"mail.example.org", "192.0.2.7", "::1"}, Around(now_));
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_TRUE(Verifies(authority_.certificate, server->certificate, X509_PURPOSE_SSL_SERVER));
  EXPECT_FALSE(Verifies(authority_.certificate, server->certificate, X509_PURPOSE_SSL_CLIENT));
  X509* certificate = Parse(server->certificate);
  EXPECT_EQ(X509_check_host(certificate, "mail.example.org", 0, 0, nullptr), 1);
  EXPECT_EQ(X509_check_host(certificate, "other.example.org", 0, 0, nullptr), 0);
  EXPECT_EQ(X509_check_ip_asc(certificate, "192.0.2.7", 0), 1);
  EXPECT_EQ(X509_check_ip_asc(certificate, "::1", 0), 1);
  EXPECT_EQ(X509_check_ip_asc(certificate, "192.0.2.8", 0), 0);
  X509_free(certificate);
}

TEST_F(Certificates, ClientIsGoodForCallingOnly) {
  const auto client = IssueClient(authority_, "alice", Role::kViewer, Around(now_));
  ASSERT_TRUE(client.ok()) << client.status();
  EXPECT_TRUE(Verifies(authority_.certificate, client->certificate, X509_PURPOSE_SSL_CLIENT));
  EXPECT_FALSE(Verifies(authority_.certificate, client->certificate, X509_PURPOSE_SSL_SERVER));
  EXPECT_TRUE(CheckPair(*client).ok());
}

TEST_F(Certificates, NothingOfAnotherAuthorityOrOutOfDateVerifies) {
  const auto other = MakeAuthority("test authority", Around(now_));  // the same name
  const auto client = IssueClient(authority_, "alice", Role::kViewer, Around(now_));
  EXPECT_FALSE(Verifies(other->certificate, client->certificate, X509_PURPOSE_SSL_CLIENT));
  const auto old = IssueClient(authority_, "alice", Role::kViewer, Around(now_ - 3 * kHour));
  EXPECT_FALSE(Verifies(authority_.certificate, old->certificate, X509_PURPOSE_SSL_CLIENT));
}

TEST_F(Certificates, ClientCannotVouchForOthers) {
  const auto client = IssueClient(authority_, "alice", Role::kOperator, Around(now_));
  EXPECT_TRUE(absl::IsInvalidArgument(IssueClient(*client, "mallory", Role::kOperator, Around(now_)).status()));
}

TEST_F(Certificates, NoneOutlivesItsAuthority) {
  Validity long_time = Around(now_);
  long_time.not_after_unix_s += 1'000 * kHour;
  const auto client = IssueClient(authority_, "alice", Role::kViewer, long_time);
  EXPECT_EQ(*ExpiryUnixSeconds(client->certificate), *ExpiryUnixSeconds(authority_.certificate));
}

TEST_F(Certificates, NamesThatCannotBeOnesAreRefused) {
  for (const char* host : {"", "a b", "-x", "x,URI:urn:imapmesh:role:operator", "x\n", "host:1", "."}) {
    const auto server = IssueServer(authority_, {host}, Around(now_));
    EXPECT_TRUE(absl::IsInvalidArgument(server.status())) << host << server.status();
  }
  EXPECT_FALSE(IssueServer(authority_, {}, Around(now_)).ok());
  EXPECT_FALSE(IssueClient(authority_, std::string(65, 'x'), Role::kViewer, Around(now_)).ok());
}

TEST_F(Certificates, KeyOfAnotherIsFoundOut) {
  CertifiedKey mixed = authority_;
  mixed.key = MakeAuthority("other", Around(now_))->key;
  EXPECT_TRUE(absl::IsInvalidArgument(CheckPair(mixed)));
  EXPECT_FALSE(IssueClient(mixed, "alice", Role::kViewer, Around(now_)).ok());
}

// ---- roles

absl::Status Check(const std::vector<std::string>& uris, const std::string& call) {
  return CheckAccess("alice", uris, "/imapmesh.v1.Coordinator/" + call);
}

TEST(Access, ViewerSeesAndOperatorSteers) {
  const std::vector<std::string> viewer = {"urn:imapmesh:role:viewer"};
  const std::vector<std::string> operators = {"urn:imapmesh:role:operator"};
  for (const char* call : {"GetTopology", "GetStatus", "WatchEvents", "Plan", "ListConflicts", "TraceMessage"}) {
    EXPECT_TRUE(Check(viewer, call).ok()) << call;
    EXPECT_TRUE(Check(operators, call).ok()) << call;
  }
  for (const char* call : {"Sync", "ResolveConflict", "PauseEdge", "ResumeEdge", "ReloadTopology", "CallOfTomorrow"}) {
    const absl::Status refused = Check(viewer, call);
    EXPECT_TRUE(absl::IsPermissionDenied(refused)) << call;
    EXPECT_NE(Message(refused).find("\"alice\" has the role viewer, and " + std::string(call)), std::string::npos)
        << refused;
    EXPECT_TRUE(Check(operators, call).ok()) << call;
  }
  EXPECT_TRUE(CheckAccess("alice", viewer, "/grpc.health.v1.Health/Check").ok());
}

TEST(Access, WithoutARoleNothingIsAllowed) {
  const std::vector<std::vector<std::string>> none = {
      {}, {"urn:imapmesh:role:admin"}, {"urn:imapmesh:role:operator2"}, {"URN:imapmesh:role:viewer "}, {"https://x/"}};
  for (const auto& uris : none) {
    EXPECT_TRUE(absl::IsPermissionDenied(Check(uris, "GetStatus")));
    EXPECT_TRUE(absl::IsPermissionDenied(CheckAccess("alice", uris, "/grpc.health.v1.Health/Check")));
  }
}

TEST(Access, TextsShowWhatATerminalWouldObey) {
  const absl::Status refused = CheckAccess("\x1b[2J", {}, "/x/\x1b[31m");
  EXPECT_EQ(Message(refused).find('\x1b'), std::string::npos) << refused;
}

// ---- files

class CertsCommand : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/certs.XXXXXX";
    folder_ = mkdtemp(name);
    options_.dir = folder_ + "/tls";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  mode_t Mode(const std::string& path) const {
    struct stat found {};
    return stat((options_.dir + path).c_str(), &found) == 0 ? found.st_mode & 0777 : 0;
  }
  std::string Read(const std::string& path) const { return ReadPemFile("test", options_.dir + path).value_or(""); }

  std::string folder_;
  CertsOptions options_;
  std::ostringstream out_;
  std::ostringstream error_;
};

TEST_F(CertsCommand, OneStepMakesAllThatIsNeededAndKeepsKeysPrivate) {
  ASSERT_EQ(InitCertificates(options_, out_, error_), kExitDone) << error_.str();
  for (const char* key : {"/ca.key", "/server.key", "/clients/viewer/client.key", "/clients/operator/client.key"}) {
    EXPECT_EQ(Mode(key), 0600u) << key;
  }
  for (const char* each : {"", "/clients", "/clients/viewer"}) EXPECT_EQ(Mode(each), 0700u) << each;
  const std::string authority = Read("/ca.pem");
  EXPECT_EQ(Read("/clients/viewer/ca.pem"), authority);
  EXPECT_TRUE(Verifies(authority, Read("/server.pem"), X509_PURPOSE_SSL_SERVER));
  EXPECT_TRUE(Verifies(authority, Read("/clients/operator/client.pem"), X509_PURPOSE_SSL_CLIENT));
  const int64_t days = (*ExpiryUnixSeconds(Read("/server.pem")) - std::time(nullptr)) / 86'400;
  EXPECT_GE(days, 728);
  EXPECT_LE(days, 730);
}

TEST_F(CertsCommand, ASecondInitLeavesTheFirstAlone) {
  ASSERT_EQ(InitCertificates(options_, out_, error_), kExitDone) << error_.str();
  const std::string authority = Read("/ca.pem");
  EXPECT_EQ(InitCertificates(options_, out_, error_), kExitFailed);
  EXPECT_NE(error_.str().find("certs client"), std::string::npos) << error_.str();
  EXPECT_EQ(Read("/ca.pem"), authority);
}

TEST_F(CertsCommand, MoreClientsAndANewServerComeFromTheSameAuthority) {
  options_.client = "alice";
  options_.role = "operator";
  ASSERT_EQ(InitCertificates(options_, out_, error_), kExitDone) << error_.str();
  const std::string authority = Read("/ca.pem");
  options_.client = "bob";
  options_.role = "viewer";
  ASSERT_EQ(IssueClientCertificate(options_, out_, error_), kExitDone) << error_.str();
  EXPECT_TRUE(Verifies(authority, Read("/clients/bob/client.pem"), X509_PURPOSE_SSL_CLIENT));
  const std::string before = Read("/clients/bob/client.pem");
  EXPECT_EQ(IssueClientCertificate(options_, out_, error_), kExitFailed) << "without --renew nothing is replaced";
  EXPECT_EQ(Read("/clients/bob/client.pem"), before);
  options_.renew = true;
  EXPECT_EQ(IssueClientCertificate(options_, out_, error_), kExitDone) << error_.str();
  EXPECT_NE(Read("/clients/bob/client.pem"), before);
  options_.hosts = {"mesh.example.org"};
  ASSERT_EQ(IssueServerCertificate(options_, out_, error_), kExitDone) << error_.str();
  X509* server = Parse(Read("/server.pem"));
  EXPECT_EQ(X509_check_host(server, "mesh.example.org", 0, 0, nullptr), 1);
  EXPECT_EQ(X509_check_host(server, "localhost", 0, 0, nullptr), 1);
  X509_free(server);
}

TEST_F(CertsCommand, BadUsageMakesNothing) {
  for (const char* name : {"../x", ".x", "a/b", "a\nb"}) {
    options_.client = name;
    EXPECT_EQ(InitCertificates(options_, out_, error_), kExitUsage) << name;
  }
  options_.client = "alice";
  options_.role = "root";
  EXPECT_EQ(InitCertificates(options_, out_, error_), kExitUsage);
  options_.role = "viewer";
  options_.days = 0;
  EXPECT_EQ(InitCertificates(options_, out_, error_), kExitUsage);
  EXPECT_FALSE(std::filesystem::exists(options_.dir));
  options_.days = 10;
  EXPECT_EQ(IssueClientCertificate(options_, out_, error_), kExitUsage) << "there is no authority";
}

}  // namespace
}  // namespace imapmesh
