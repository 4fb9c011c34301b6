// TLS against a server of OpenSSL in the same process: versions, names, pins, client certificates, channel bindings.
#include "engine/net/tls.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <array>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <optional>

namespace imapmesh {
namespace {

// A key and a certificate for it, signed by itself, for localhost.
struct Identity {
  Identity() {
    key = EVP_EC_gen("P-256");
    certificate = X509_new();
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    X509_NAME* name = X509_get_subject_name(certificate);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("localhost"), -1, -1,
                               0);
    X509_set_issuer_name(certificate, name);
    X509_EXTENSION* names = X509V3_EXT_nconf_nid(nullptr, nullptr, NID_subject_alt_name, "DNS:localhost");
    X509_add_ext(certificate, names, -1);
    X509_EXTENSION_free(names);
    X509_sign(certificate, key, EVP_sha256());
  }
  ~Identity() {
    X509_free(certificate);
    EVP_PKEY_free(key);
  }
  std::string CertificateFile(const std::string& name) const {
    const std::string path = testing::TempDir() + "/" + name;
    FILE* file = fopen(path.c_str(), "w");
    PEM_write_X509(file, certificate);
    fclose(file);
    return path;
  }
  std::string KeyFile(const std::string& name, const char* passphrase = nullptr) const {
    const std::string path = testing::TempDir() + "/" + name;
    FILE* file = fopen(path.c_str(), "w");
    const int size = passphrase == nullptr ? 0 : static_cast<int>(strlen(passphrase));
    PEM_write_PrivateKey(file, key, passphrase == nullptr ? nullptr : EVP_aes_128_cbc(),
                         reinterpret_cast<const unsigned char*>(passphrase), size, nullptr, nullptr);
    fclose(file);
    return path;
  }
  EVP_PKEY* key;
  X509* certificate;
};

// The other end: what the client writes is worked on at once, what the server has to say lies ready for Read.
class Server {
 public:
  explicit Server(const Identity& identity) : context(SSL_CTX_new(TLS_server_method())) {
    SSL_CTX_use_certificate(context, identity.certificate);
    SSL_CTX_use_PrivateKey(context, identity.key);
  }
  ~Server() {
    SSL_free(ssl);
    SSL_CTX_free(context);
  }
  void RequireClient(const Identity& accepted) {
    X509_STORE_add_cert(SSL_CTX_get_cert_store(context), accepted.certificate);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  }
  void Begin() {
    SSL_free(ssl);
    ssl = SSL_new(context);
    SSL_set_accept_state(ssl);
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    BIO_set_mem_eof_return(SSL_get_rbio(ssl), -1);
  }
  void Take(std::string_view bytes) {
    BIO_write(SSL_get_rbio(ssl), bytes.data(), static_cast<int>(bytes.size()));
    if (!SSL_is_init_finished(ssl) && SSL_do_handshake(ssl) == 1) SSL_write(ssl, "* OK\r\n", 6);
  }

  SSL_CTX* context;
  SSL* ssl = nullptr;
};

class Pipe : public ByteStream {
 public:
  explicit Pipe(Server& server) : server_(server) {}
  asio::awaitable<absl::StatusOr<size_t>> Read(std::span<char> into) override {
    const int count = BIO_read(SSL_get_wbio(server_.ssl), into.data(), static_cast<int>(into.size()));
    co_return count > 0 ? static_cast<size_t>(count) : 0;
  }
  asio::awaitable<absl::Status> Write(std::string_view bytes) override {
    server_.Take(bytes);
    co_return absl::OkStatus();
  }
  void Close() override {}
  uint64_t bytes_sent() const override { return 0; }
  uint64_t bytes_received() const override { return 0; }

 private:
  Server& server_;
};

class TlsTest : public testing::Test {
 protected:
  TlsTest() : server_(identity_) {
    options_.server_name = "localhost";
    options_.ca_file = identity_.CertificateFile("ca.pem");
  }

  // Reads the server's first words; the error, or OK.
  absl::Status Connect() {
    server_.Begin();
    auto made = MakeTlsStream(std::make_unique<Pipe>(server_), options_);
    if (!made.ok()) return made.status();
    stream_ = *std::move(made);
    std::optional<absl::StatusOr<size_t>> count;
    std::array<char, 100> buffer;
    auto read = [&]() -> asio::awaitable<void> {
      std::span<char> into(buffer);
      count = co_await stream_->Read(into);
    };
    asio::co_spawn(io_, read(), asio::detached);
    io_.run();
    io_.restart();
    if (!count->ok()) return count->status();
    EXPECT_EQ(std::string_view(buffer.data(), **count), "* OK\r\n");
    return absl::OkStatus();
  }
  std::string Refusal() {
    const absl::Status status = Connect();
    EXPECT_FALSE(status.ok());
    return Message(status);
  }

  asio::io_context io_;
  Identity identity_;
  Server server_;
  TlsOptions options_;
  std::unique_ptr<TlsStream> stream_;
};

TEST_F(TlsTest, VerifiesChainAndNameAndSendsTheName) {
  EXPECT_EQ(Connect(), absl::OkStatus());
  EXPECT_STREQ(SSL_get_servername(server_.ssl, TLSEXT_NAMETYPE_host_name), "localhost");
  options_.server_name = "mail.example.org";
  EXPECT_NE(Refusal().find("does not verify"), std::string::npos);
}

TEST_F(TlsTest, RefusesAnUnknownAuthority) {
  options_.ca_file = Identity().CertificateFile("other.pem");
  EXPECT_NE(Refusal().find("tls.pin_sha256"), std::string::npos);
}

TEST_F(TlsTest, NeedsTheVersionThatIsAskedFor) {
  options_.min_version = "1.3";
  EXPECT_EQ(Connect(), absl::OkStatus());
  SSL_CTX_set_max_proto_version(server_.context, TLS1_2_VERSION);
  EXPECT_EQ(Refusal().rfind("localhost does not speak TLS 1.3 or newer", 0), 0u);
  options_.min_version = "";
  EXPECT_EQ(Connect(), absl::OkStatus());
}

TEST_F(TlsTest, NeverSpeaksLessThan12) {
  SSL_CTX_set_security_level(server_.context, 0);
  SSL_CTX_set_min_proto_version(server_.context, TLS1_VERSION);
  SSL_CTX_set_max_proto_version(server_.context, TLS1_1_VERSION);
  EXPECT_EQ(Refusal().rfind("localhost does not speak TLS 1.2 or newer", 0), 0u);
}

TEST_F(TlsTest, ShowsTheClientCertificate) {
  const Identity client;
  server_.RequireClient(client);
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    SSL_CTX_set_max_proto_version(server_.context, version);
    options_.client_cert = client.CertificateFile("client.pem");
    options_.client_key = client.KeyFile("client.key");
    EXPECT_EQ(Connect(), absl::OkStatus());
    X509* shown = SSL_get1_peer_certificate(server_.ssl);
    ASSERT_NE(shown, nullptr);
    EXPECT_EQ(X509_cmp(shown, client.certificate), 0);
    X509_free(shown);
  }
}

TEST_F(TlsTest, SaysWhatAServerThatWantsACertificateMisses) {
  server_.RequireClient(Identity());
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    SSL_CTX_set_max_proto_version(server_.context, version);
    const absl::Status none = Connect();
    EXPECT_TRUE(absl::IsUnauthenticated(none)) << none;
    EXPECT_NE(Message(none).find("set tls.client_cert"), std::string::npos) << none;
  }
  const Identity stranger;
  options_.client_cert = stranger.CertificateFile("stranger.pem");
  options_.client_key = stranger.KeyFile("stranger.key");
  const std::string other = Refusal();
  EXPECT_NE(other.find("check that tls.client_cert"), std::string::npos) << other;
}

TEST_F(TlsTest, NamesTheFileThatCannotBeUsed) {
  const Identity client, other;
  options_.client_cert = "/nonexistent/client.pem";
  options_.client_key = client.KeyFile("client.key");
  EXPECT_EQ(Refusal().rfind("tls.client_cert /nonexistent/client.pem cannot be read", 0), 0u);
  options_.client_cert = client.CertificateFile("client.pem");
  options_.client_key = other.KeyFile("other.key");
  EXPECT_NE(Refusal().find("is not the key of tls.client_cert"), std::string::npos);
  options_.client_key = client.KeyFile("locked.key", "passphrase");
  EXPECT_NE(Refusal().find("must not have a passphrase"), std::string::npos);
}

std::string Digest(const Identity& identity) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned int size = 0;
  X509_digest(identity.certificate, EVP_sha256(), digest.data(), &size);
  return std::string(reinterpret_cast<char*>(digest.data()), size);
}

// Both ends must come to the same bytes.
TEST_F(TlsTest, BindsToTls13ByTheExporter) {
  ASSERT_EQ(Connect(), absl::OkStatus());
  const auto bindings = stream_->ChannelBindings();
  ASSERT_EQ(bindings.size(), 2u);
  std::array<char, 32> exported;
  constexpr std::string_view kLabel = "EXPORTER-Channel-Binding";  // RFC 9266 section 2, with an empty context
  SSL_export_keying_material(server_.ssl, reinterpret_cast<unsigned char*>(exported.data()), exported.size(),
                             kLabel.data(), kLabel.size(), reinterpret_cast<const unsigned char*>(""), 0, 1);
  EXPECT_EQ(bindings[0].type, "tls-exporter");
  EXPECT_EQ(bindings[0].data, std::string(exported.data(), exported.size()));
  EXPECT_EQ(bindings[1].type, "tls-server-end-point");
  EXPECT_EQ(bindings[1].data, Digest(identity_));
}

TEST_F(TlsTest, BindsToTls12ByTheFirstFinished) {
  SSL_CTX_set_max_proto_version(server_.context, TLS1_2_VERSION);
  ASSERT_EQ(Connect(), absl::OkStatus());
  const auto bindings = stream_->ChannelBindings();
  ASSERT_EQ(bindings.size(), 2u);
  std::array<char, 64> finished;
  const size_t size = SSL_get_peer_finished(server_.ssl, finished.data(), finished.size());
  EXPECT_EQ(bindings[0].type, "tls-unique");
  EXPECT_EQ(bindings[0].data, std::string(finished.data(), size));
  EXPECT_EQ(bindings[1].type, "tls-server-end-point");
}

// Without RFC 7627 somebody in between can make two connections share their Finished.
TEST_F(TlsTest, TakesNoTlsUniqueWithoutTheExtendedMasterSecret) {
  SSL_CTX_set_max_proto_version(server_.context, TLS1_2_VERSION);
  SSL_CTX_set_options(server_.context, SSL_OP_NO_EXTENDED_MASTER_SECRET);
  ASSERT_EQ(Connect(), absl::OkStatus());
  const auto bindings = stream_->ChannelBindings();
  ASSERT_EQ(bindings.size(), 1u);
  EXPECT_EQ(bindings[0].type, "tls-server-end-point");
}

}  // namespace
}  // namespace imapmesh
