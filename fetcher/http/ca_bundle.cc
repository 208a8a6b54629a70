#include "fetcher/http/ca_bundle.h"

#include <sys/mman.h>

#include <cerrno>

#include <curl/curl.h>

#include "base/file.h"

namespace floe::fetcher {
namespace {

constexpr uint64_t kMaxCaBytes = 16U << 20U;
constexpr const char* kDebianBundle = "/etc/ssl/certs/ca-certificates.crt";

std::string SystemBundle() {
  const curl_version_info_data* info = curl_version_info(CURLVERSION_NOW);
  Result<std::string> pem =
      ReadFile(info->cainfo != nullptr ? info->cainfo : kDebianBundle, kMaxCaBytes);
  return pem ? *std::move(pem) : std::string();  // A machine without public CAs is no error.
}

}  // namespace

Result<CaBundle> CaBundle::Make(const std::string& ca_file) {
  CaBundle bundle;
  if (ca_file.empty()) {
    return bundle;
  }
  FLOE_ASSIGN_OR_RETURN(std::string pem, ReadFile(ca_file, kMaxCaBytes));
  if (pem.find("-----BEGIN CERTIFICATE-----") == std::string::npos) {
    return InvalidArgument("{} holds no PEM certificate", ca_file);
  }
  pem += "\n" + SystemBundle();
  bundle.memory.Reset(::memfd_create("floe-ca", MFD_CLOEXEC));
  if (!bundle.memory.valid()) {
    return ErrnoError(errno, "memfd_create");
  }
  FLOE_RETURN_IF_ERROR(
      PwriteAll(bundle.memory.get(), std::as_bytes(std::span(pem.data(), pem.size())), 0));
  bundle.path = fmt::format("/proc/self/fd/{}", bundle.memory.get());
  return bundle;
}

}  // namespace floe::fetcher
