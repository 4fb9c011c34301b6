#include "engine/imap/scram.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <algorithm>
#include <charconv>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "base/printable.h"
#include "engine/imap/sasl_prep.h"

namespace imapmesh::imap {
namespace {

constexpr size_t kMessageBytesMax = 8192;
constexpr size_t kSaltBytesMax = 1024;

const EVP_MD* Algorithm(ScramHash hash) {
  return hash == ScramHash::kSha1 ? EVP_sha1() : EVP_sha256();
}

const unsigned char* Bytes(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

std::string Hmac(ScramHash hash, std::string_view key, std::string_view text) {
  std::string result(EVP_MAX_MD_SIZE, '\0');
  unsigned int size = 0;
  HMAC(Algorithm(hash), key.data(), static_cast<int>(key.size()), Bytes(text), text.size(),
       reinterpret_cast<unsigned char*>(result.data()), &size);
  result.resize(size);
  return result;
}

std::string Hash(ScramHash hash, std::string_view text) {
  std::string result(EVP_MAX_MD_SIZE, '\0');
  unsigned int size = 0;
  EVP_Digest(text.data(), text.size(), reinterpret_cast<unsigned char*>(result.data()), &size, Algorithm(hash),
             nullptr);
  result.resize(size);
  return result;
}

// Hi() of RFC 5802 section 2.2 is PBKDF2 with one block.
std::string SaltPassword(ScramHash hash, std::string_view password, std::string_view salt, int iterations) {
  std::string result(static_cast<size_t>(EVP_MD_get_size(Algorithm(hash))), '\0');
  PKCS5_PBKDF2_HMAC(password.data(), static_cast<int>(password.size()), Bytes(salt), static_cast<int>(salt.size()),
                    iterations, Algorithm(hash), static_cast<int>(result.size()),
                    reinterpret_cast<unsigned char*>(result.data()));
  return result;
}

std::string Base64(std::string_view bytes) {
  std::string text;
  absl::Base64Escape(ToAbsl(bytes), &text);
  return text;
}

// The value of the attribute that must come next in `message`, which loses it; nullopt when another one does.
std::optional<std::string_view> TakeAttribute(std::string_view& message, char attribute) {
  if (message.size() < 2 || message[0] != attribute || message[1] != '=') return std::nullopt;
  const size_t end = std::min(message.find(','), message.size());
  const std::string_view value = message.substr(2, end - 2);
  message.remove_prefix(std::min(end + 1, message.size()));
  return value;
}

class Scram : public SaslMechanism {
 public:
  explicit Scram(ScramOptions options) : options_(std::move(options)) {
    name_ = options_.hash == ScramHash::kSha1 ? "SCRAM-SHA-1" : "SCRAM-SHA-256";
    if (options_.binding) name_ += "-PLUS";
    gs2_header_ = options_.binding ? "p=" + options_.binding->type + ",," : options_.could_bind ? "y,," : "n,,";
  }

  ~Scram() override {
    OPENSSL_cleanse(options_.password.data(), options_.password.size());
    OPENSSL_cleanse(password_.data(), password_.size());
  }

  std::string_view name() const override { return name_; }

  absl::StatusOr<std::optional<std::string>> Begin() override {
    if (options_.nonce.empty()) {
      return Error(absl::StatusCode::kInternal, "%s: this machine gives no randomness for a nonce", name_);
    }
    ASSIGN_OR_RETURN(const std::string username, Prepare(options_.username, "user name"));
    ASSIGN_OR_RETURN(password_, Prepare(options_.password, "password"));
    first_bare_ = "n=" + EscapeSaslName(username) + ",r=" + options_.nonce;
    return std::optional<std::string>(gs2_header_ + first_bare_);
  }

  absl::StatusOr<std::string> Respond(std::string_view challenge) override {
    if (challenge.size() > kMessageBytesMax) return Malformed("is too long");
    ++challenges_;
    if (challenges_ == 1) return AnswerFirst(challenge);
    if (challenges_ == 2) return CheckFinal(challenge);
    return Malformed("comes after the last one");
  }

  absl::Status Finish() const override {
    if (proved_) return absl::OkStatus();
    return Error(absl::StatusCode::kUnauthenticated,
                 "%s: the server says OK but has not proved that it knows the password; somebody may be in between",
                 name_);
  }

  std::string refusal() const override { return refusal_; }

 private:
  absl::StatusOr<std::string> Prepare(std::string_view text, std::string_view what) const {
    absl::StatusOr<std::string> prepared = SaslPrep(text);
    if (prepared.ok()) return prepared;
    return Error(absl::StatusCode::kInvalidArgument,
                 "%s cannot carry the %s: it %s; change it, or set auth.mechanism: \"PLAIN\"", name_, what,
                 Message(prepared.status()));
  }

  absl::Status Malformed(std::string_view what) const {
    return Error(absl::StatusCode::kDataLoss, "%s: the server's message %s", name_, what);
  }

  absl::StatusOr<std::string> AnswerFirst(std::string_view challenge) {
    std::string_view rest = challenge;
    if (rest.starts_with("m=")) return Malformed("needs an extension that imapmesh does not know");
    if (rest.starts_with("e=")) return Refused(rest.substr(2));
    const auto nonce = TakeAttribute(rest, 'r');
    const auto salt_text = nonce ? TakeAttribute(rest, 's') : std::nullopt;
    const auto count_text = salt_text ? TakeAttribute(rest, 'i') : std::nullopt;
    if (!count_text) return Malformed("is not of the form r=…,s=…,i=…");
    if (!nonce->starts_with(options_.nonce) || nonce->size() == options_.nonce.size()) {
      return Malformed("answers another nonce than ours; somebody may be in between");
    }
    if (std::any_of(nonce->begin(), nonce->end(), [](unsigned char c) { return c <= ' ' || c >= 0x7f; })) {
      return Malformed("has a nonce that is not printable");
    }
    std::string salt;
    if (!absl::Base64Unescape(ToAbsl(*salt_text), &salt) || salt.empty() || salt.size() > kSaltBytesMax) {
      return Malformed("has a salt that cannot be read");
    }
    int iterations = 0;
    const char* end = count_text->data() + count_text->size();
    const auto [stop, error] = std::from_chars(count_text->data(), end, iterations);
    if (error == std::errc::result_out_of_range) iterations = kScramIterationsMax + 1;
    if (stop != end || error == std::errc::invalid_argument)
      return Malformed("has an iteration count that is no number");
    if (iterations < kScramIterationsMin || iterations > kScramIterationsMax) {
      return Error(
          absl::StatusCode::kUnauthenticated,
          "%s: the server asks for %s iterations; imapmesh takes %d to %d. Have the password stored anew there, "
          "or set auth.mechanism: \"PLAIN\"",
          name_, Printable(*count_text, 20), kScramIterationsMin, kScramIterationsMax);
    }
    return Prove(challenge, *nonce, salt, iterations);
  }

  // RFC 5802 section 3.
  std::string Prove(std::string_view server_first, std::string_view nonce, std::string_view salt, int iterations) {
    const ScramHash hash = options_.hash;
    std::string salted = SaltPassword(hash, password_, salt, iterations);
    const std::string binding = gs2_header_ + (options_.binding ? options_.binding->data : "");
    const std::string final_bare = "c=" + Base64(binding) + ",r=" + std::string(nonce);
    const std::string message = first_bare_ + "," + std::string(server_first) + "," + final_bare;
    std::string proof = Hmac(hash, salted, "Client Key");
    const std::string client_signature = Hmac(hash, Hash(hash, proof), message);
    for (size_t i = 0; i < proof.size(); ++i) proof[i] = static_cast<char>(proof[i] ^ client_signature[i]);
    server_signature_ = Hmac(hash, Hmac(hash, salted, "Server Key"), message);
    OPENSSL_cleanse(salted.data(), salted.size());
    return final_bare + ",p=" + Base64(proof);
  }

  absl::StatusOr<std::string> CheckFinal(std::string_view challenge) {
    std::string_view rest = challenge;
    if (rest.starts_with("e=")) return Refused(rest.substr(2));
    const auto verifier = TakeAttribute(rest, 'v');
    std::string signature;
    if (!verifier || !absl::Base64Unescape(ToAbsl(*verifier), &signature)) return Malformed("is not of the form v=…");
    if (signature.size() != server_signature_.size() ||
        CRYPTO_memcmp(signature.data(), server_signature_.data(), signature.size()) != 0) {
      return Error(absl::StatusCode::kUnauthenticated,
                   "%s: the server does not know the password: its signature is wrong; somebody may be in between",
                   name_);
    }
    proved_ = true;
    return "";
  }

  absl::Status Refused(std::string_view error) {
    refusal_ = Printable(error.substr(0, error.find(',')), 100);
    return Error(absl::StatusCode::kUnauthenticated, "%s: the server answered \"e=%s\"", name_, refusal_);
  }

  ScramOptions options_;
  std::string name_;
  std::string gs2_header_;
  std::string password_;  // prepared
  std::string first_bare_;
  std::string server_signature_;
  std::string refusal_;
  int challenges_ = 0;
  bool proved_ = false;
};

}  // namespace

std::unique_ptr<SaslMechanism> MakeScram(ScramOptions options) {
  return std::make_unique<Scram>(std::move(options));
}

std::string MakeScramNonce() {
  unsigned char random[18];
  if (RAND_bytes(random, sizeof random) != 1) return "";
  return Base64(std::string_view(reinterpret_cast<const char*>(random), sizeof random));
}

}  // namespace imapmesh::imap
