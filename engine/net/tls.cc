#include "engine/net/tls.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <array>
#include <utility>

#include "base/printable.h"
#include "engine/net/tls_support.h"

namespace imapmesh {
namespace {

struct SslContextDeleter {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};
struct SslDeleter {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
};

bool IsAddress(const std::string& name) {
  unsigned char buffer[16];
  return inet_pton(AF_INET, name.c_str(), buffer) == 1 || inet_pton(AF_INET6, name.c_str(), buffer) == 1;
}

class ClientStream : public TlsStream {
 public:
  ClientStream(std::unique_ptr<ByteStream> below, TlsOptions options)
      : below_(std::move(below)), options_(std::move(options)) {}

  absl::Status Prepare() {
    context_.reset(SSL_CTX_new(TLS_client_method()));
    SSL_CTX_set_min_proto_version(context_.get(), options_.min_version == "1.3" ? TLS1_3_VERSION : TLS1_2_VERSION);
    SSL_CTX_set_options(context_.get(), SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_session_cache_mode(context_.get(), SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(context_.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (options_.ca_file.empty()) {
      SSL_CTX_set_default_verify_paths(context_.get());
    } else if (SSL_CTX_load_verify_locations(context_.get(), options_.ca_file.c_str(), nullptr) != 1) {
      return Error(absl::StatusCode::kInvalidArgument, "tls.ca_file %s cannot be read as PEM certificates: %s",
                   options_.ca_file, LastTlsError().text);
    }
    if (!options_.client_cert.empty()) {
      RETURN_IF_ERROR(UseClientCertificate(context_.get(), options_.client_cert, options_.client_key));
    }
    ssl_.reset(SSL_new(context_.get()));
    SSL_set_connect_state(ssl_.get());
    from_server_ = BIO_new(BIO_s_mem());
    to_server_ = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(from_server_, -1);
    SSL_set_bio(ssl_.get(), from_server_, to_server_);  // takes both
    if (IsAddress(options_.server_name)) {
      X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl_.get()), options_.server_name.c_str());
    } else {
      SSL_set_tlsext_host_name(ssl_.get(), options_.server_name.c_str());
      SSL_set1_host(ssl_.get(), options_.server_name.c_str());
    }
    // The result is judged after the handshake (Judge), so that the error can tell the key's pin.
    SSL_set_verify(ssl_.get(), SSL_VERIFY_NONE, nullptr);
    return absl::OkStatus();
  }

  asio::awaitable<absl::StatusOr<size_t>> Read(std::span<char> into) override {
    CO_RETURN_IF_ERROR(co_await Handshake());
    co_return co_await ReadPlain(into);
  }

  asio::awaitable<absl::Status> Write(std::string_view bytes) override {
    CO_RETURN_IF_ERROR(co_await Handshake());
    co_return co_await WritePlain(bytes);
  }

  void Close() override { below_->Close(); }
  std::vector<ChannelBinding> ChannelBindings() const override {
    return ready_ ? ChannelBindingsOf(ssl_.get()) : std::vector<ChannelBinding>();
  }
  uint64_t bytes_sent() const override { return sent_; }
  uint64_t bytes_received() const override { return received_; }

 private:
  asio::awaitable<absl::Status> Handshake() {
    while (!ready_) {
      ERR_clear_error();
      const int result = SSL_do_handshake(ssl_.get());
      const int reason = SSL_get_error(ssl_.get(), result);
      CO_RETURN_IF_ERROR(co_await SendPending());
      if (result == 1) {
        CO_RETURN_IF_ERROR(Judge());
        ready_ = true;
        break;
      }
      if (reason != SSL_ERROR_WANT_READ) {
        co_return ExplainTlsError(LastTlsError(), options_, true);
      }
      CO_ASSIGN_OR_RETURN(const bool more, co_await Receive());
      if (!more) {
        co_return Error(absl::StatusCode::kUnavailable,
                        "%s closed the connection during the TLS handshake; check that it speaks TLS %s or newer there "
                        "(tls.min_version), and whether it wants a client certificate",
                        options_.server_name, options_.min_version == "1.3" ? "1.3" : "1.2");
      }
    }
    co_return absl::OkStatus();
  }

  asio::awaitable<absl::StatusOr<size_t>> ReadPlain(std::span<char> into) {
    while (true) {
      ERR_clear_error();
      const int count = SSL_read(ssl_.get(), into.data(), static_cast<int>(std::min<size_t>(into.size(), 1 << 20)));
      if (count > 0) {
        received_ += static_cast<uint64_t>(count);
        CO_RETURN_IF_ERROR(co_await SendPending());
        co_return static_cast<size_t>(count);
      }
      const int reason = SSL_get_error(ssl_.get(), count);
      CO_RETURN_IF_ERROR(co_await SendPending());
      if (reason == SSL_ERROR_ZERO_RETURN) co_return size_t{0};
      if (reason != SSL_ERROR_WANT_READ) {
        co_return ExplainTlsError(LastTlsError(), options_, false);
      }
      CO_ASSIGN_OR_RETURN(const bool more, co_await Receive());
      if (!more) {
        co_return Error(absl::StatusCode::kUnavailable, "%s closed the connection without ending TLS",
                        options_.server_name);
      }
    }
  }

  asio::awaitable<absl::Status> WritePlain(std::string_view bytes) {
    while (!bytes.empty()) {
      ERR_clear_error();
      const int count = SSL_write(ssl_.get(), bytes.data(), static_cast<int>(std::min<size_t>(bytes.size(), 1 << 16)));
      if (count <= 0) {
        co_return Error(absl::StatusCode::kUnavailable, "TLS with %s broke: %s", options_.server_name,
                        LastTlsError().text);
      }
      sent_ += static_cast<uint64_t>(count);
      bytes.remove_prefix(static_cast<size_t>(count));
      CO_RETURN_IF_ERROR(co_await SendPending());
    }
    co_return absl::OkStatus();
  }

  asio::awaitable<absl::Status> SendPending() {
    std::string pending;
    char chunk[16384];
    for (int count = BIO_read(to_server_, chunk, sizeof chunk); count > 0;
         count = BIO_read(to_server_, chunk, sizeof chunk)) {
      pending.append(chunk, static_cast<size_t>(count));
    }
    if (pending.empty()) co_return absl::OkStatus();
    co_return co_await below_->Write(pending);
  }

  asio::awaitable<absl::StatusOr<bool>> Receive() {
    std::span<char> raw(raw_);
    CO_ASSIGN_OR_RETURN(const size_t count, co_await below_->Read(raw));
    if (count == 0) co_return false;
    BIO_write(from_server_, raw_.data(), static_cast<int>(count));
    co_return true;
  }

  absl::Status Judge() {
    const std::string hash = PublicKeyHash(ssl_.get());
    if (!options_.pin_sha256.empty()) {
      if (PinMatches(options_.pin_sha256, hash)) return absl::OkStatus();
      return Error(absl::StatusCode::kUnauthenticated,
                   "the certificate of %s has another key than tls.pin_sha256 says: its pin is %s; if the server's key "
                   "was changed on purpose, put that there",
                   options_.server_name, PinText(hash));
    }
    const long result = SSL_get_verify_result(ssl_.get());
    if (result == X509_V_OK) return absl::OkStatus();
    return Error(absl::StatusCode::kUnauthenticated,
                 "the certificate of %s does not verify: %s; set tls.ca_file to the authority that signed it, "
                 "tls.server_name to the name in it, or tls.pin_sha256 to \"%s\" if this key is the right one",
                 options_.server_name, X509_verify_cert_error_string(result), PinText(hash));
  }

  std::unique_ptr<ByteStream> below_;
  TlsOptions options_;
  std::unique_ptr<SSL_CTX, SslContextDeleter> context_;
  std::unique_ptr<SSL, SslDeleter> ssl_;
  BIO* from_server_ = nullptr;  // owned by ssl_
  BIO* to_server_ = nullptr;
  std::array<char, 16384> raw_;
  bool ready_ = false;
  uint64_t sent_ = 0;
  uint64_t received_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<TlsStream>> MakeTlsStream(std::unique_ptr<ByteStream> below, TlsOptions options) {
  auto stream = std::make_unique<ClientStream>(std::move(below), std::move(options));
  RETURN_IF_ERROR(stream->Prepare());
  return stream;
}

}  // namespace imapmesh
