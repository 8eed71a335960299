#include "eval/text/download.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <zip.h>

#include <array>
#include <exception>
#include <memory>
#include <utility>

#include "harness/base/check.h"
#include "harness/base/error.h"

namespace quantref {
namespace {

constexpr char kNetworkHint[] =
    "check the address, the network and the proxy variables (https_proxy, http_proxy)";
constexpr long kSlowestBytesPerSecond = 1000;
constexpr long kMostRedirects = 10;

// libcurl's functions. It brings two dozen other libraries along, a third of what a program takes
// to start, so it is loaded for the first download, which most runs never come to.
class Curl {
 public:
  Curl();  // Error where it is missing
  decltype(&curl_global_init) global_init = nullptr;
  decltype(&curl_easy_init) easy_init = nullptr;
  decltype(&curl_easy_cleanup) easy_cleanup = nullptr;
  decltype(&curl_easy_setopt) easy_setopt = nullptr;
  decltype(&curl_easy_perform) easy_perform = nullptr;
  decltype(&curl_easy_getinfo) easy_getinfo = nullptr;
  decltype(&curl_easy_strerror) easy_strerror = nullptr;

 private:
  template <typename Function>
  void Find(Function& function, const char* name);

  void* library_ = nullptr;  // never unloaded
};

constexpr char kCurlFile[] = "libcurl.so.4";

Curl::Curl() : library_(dlopen(kCurlFile, RTLD_NOW | RTLD_LOCAL)) {
  if (library_ == nullptr) {
    throw Error(std::string("libcurl cannot be loaded: ") + dlerror(), kCurlFile,
                "install Debian's libcurl4");
  }
  Find(global_init, "curl_global_init");
  Find(easy_init, "curl_easy_init");
  Find(easy_cleanup, "curl_easy_cleanup");
  Find(easy_setopt, "curl_easy_setopt");
  Find(easy_perform, "curl_easy_perform");
  Find(easy_getinfo, "curl_easy_getinfo");
  Find(easy_strerror, "curl_easy_strerror");
}

template <typename Function>
void Curl::Find(Function& function, const char* name) {
  function = reinterpret_cast<Function>(dlsym(library_, name));
  if (function == nullptr) throw Error(std::string("it lacks the function ") + name, kCurlFile);
}

const Curl& TheCurl() {
  static const Curl curl;
  return curl;
}

// What the callbacks of one transfer share. libcurl is C: no exception may pass through it, so one
// thrown by a callback is kept here and rethrown after the transfer.
struct Transfer {
  const Progress& progress;
  const Cancelled& cancelled;
  size_t max_bytes;
  std::string body{};
  size_t reported = 0;
  bool too_long = false, stopped = false;
  std::exception_ptr failure{};
};

// Anything but `bytes` stops the transfer.
size_t Receive(char* data, size_t /*always one*/, size_t bytes, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  if (bytes > transfer.max_bytes - transfer.body.size()) {
    transfer.too_long = true;
    return 0;
  }
  try {
    transfer.body.append(data, bytes);
    return bytes;
  } catch (...) {
    transfer.failure = std::current_exception();
    return 0;
  }
}

// Not 0 stops the transfer.
int Tick(void* user, curl_off_t total, curl_off_t /*done*/, curl_off_t, curl_off_t) {
  auto& transfer = *static_cast<Transfer*>(user);
  try {
    if (transfer.cancelled && transfer.cancelled()) {
      transfer.stopped = true;
      return 1;
    }
    // The body's own size, because libcurl also counts the bodies of redirects.
    const size_t done = transfer.body.size();
    if (transfer.progress && done != transfer.reported) {
      transfer.progress(done, std::cmp_less(total, done) ? 0 : static_cast<size_t>(total));
      transfer.reported = done;
    }
    return 0;
  } catch (...) {
    transfer.failure = std::current_exception();
    return 1;
  }
}

template <typename T>
void SetOption(CURL* curl, CURLoption option, T value) {
  const CURLcode code = TheCurl().easy_setopt(curl, option, value);
  if (code == CURLE_OUT_OF_MEMORY) throw std::bad_alloc();
  QR_CHECK_EQ(code, CURLE_OK);
}

void Configure(CURL* curl, const std::string& url, const HttpLimits& limits, Transfer* transfer) {
  SetOption(curl, CURLOPT_URL, url.c_str());
  SetOption(curl, CURLOPT_USERAGENT, "quantref");
#if LIBCURL_VERSION_NUM >= 0x075500
  SetOption(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  SetOption(curl, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
#else
  SetOption(curl, CURLOPT_PROTOCOLS, long{CURLPROTO_HTTP | CURLPROTO_HTTPS});
  SetOption(curl, CURLOPT_REDIR_PROTOCOLS, long{CURLPROTO_HTTP | CURLPROTO_HTTPS});
#endif
  SetOption(curl, CURLOPT_FOLLOWLOCATION, 1L);
  SetOption(curl, CURLOPT_MAXREDIRS, kMostRedirects);
  SetOption(curl, CURLOPT_FAILONERROR, 1L);  // the page that explains a 404 is not the file
  SetOption(curl, CURLOPT_NOSIGNAL, 1L);     // signals belong to the program
  SetOption(curl, CURLOPT_CONNECTTIMEOUT, static_cast<long>(limits.connect.count()));
  SetOption(curl, CURLOPT_LOW_SPEED_LIMIT, kSlowestBytesPerSecond);
  SetOption(curl, CURLOPT_LOW_SPEED_TIME, static_cast<long>(limits.stall.count()));
  SetOption(curl, CURLOPT_WRITEFUNCTION, &Receive);
  SetOption(curl, CURLOPT_WRITEDATA, static_cast<void*>(transfer));
  SetOption(curl, CURLOPT_NOPROGRESS, 0L);
  SetOption(curl, CURLOPT_XFERINFOFUNCTION, &Tick);
  SetOption(curl, CURLOPT_XFERINFODATA, static_cast<void*>(transfer));
}

[[noreturn]] void ThrowZipError(zip_error_t* error, const std::string& problem,
                                const std::string& member) {
  const std::string reason = zip_error_strerror(error);
  zip_error_fini(error);
  throw Error(problem + ": " + reason, member);
}

using ZipArchive = std::unique_ptr<zip_t, decltype([](zip_t* zip) { zip_discard(zip); })>;
using ZipFile = std::unique_ptr<zip_file_t, decltype([](zip_file_t* file) { zip_fclose(file); })>;

ZipArchive OpenZip(std::string_view zip, const std::string& member) {
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* source = zip_source_buffer_create(zip.data(), zip.size(), 0, &error);
  if (source == nullptr) ThrowZipError(&error, "cannot read the archive", member);
  ZipArchive archive(zip_open_from_source(source, ZIP_RDONLY, &error));
  if (archive == nullptr) {
    zip_source_free(source);
    ThrowZipError(&error, "not a usable zip archive", member);
  }
  zip_error_fini(&error);
  return archive;
}

// Reads on to the end, where libzip checks the CRC, but never past `size`.
std::string ReadZipFile(zip_file_t* file, size_t size, const std::string& member) {
  std::string content(size + 1, '\0');
  size_t done = 0;
  while (done <= size) {
    const zip_int64_t got = zip_fread(file, content.data() + done, content.size() - done);
    if (got < 0)
      throw Error(std::string("damaged in the archive: ") + zip_file_strerror(file), member);
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  if (done != size) {
    throw Error("damaged in the archive: expected the " + std::to_string(size) +
                    " bytes that its header says, found " +
                    (done > size ? "more" : std::to_string(done)),
                member);
  }
  content.resize(size);
  return content;
}

}  // namespace

std::string HttpGet(const std::string& url, size_t max_bytes, const Progress& progress,
                    const Cancelled& cancelled, const HttpLimits& limits) {
  const Curl& library = TheCurl();
  static const CURLcode kInitialised = library.global_init(CURL_GLOBAL_DEFAULT);
  if (kInitialised != CURLE_OK)
    throw Error(std::string("libcurl cannot begin: ") + library.easy_strerror(kInitialised), url);
  const std::unique_ptr<CURL, decltype(library.easy_cleanup)> curl(library.easy_init(),
                                                                   library.easy_cleanup);
  if (curl == nullptr) throw std::bad_alloc();

  Transfer transfer{.progress = progress, .cancelled = cancelled, .max_bytes = max_bytes};
  std::array<char, CURL_ERROR_SIZE> detail{};
  SetOption(curl.get(), CURLOPT_ERRORBUFFER, detail.data());
  Configure(curl.get(), url, limits, &transfer);
  const CURLcode code = library.easy_perform(curl.get());
  if (transfer.failure) std::rethrow_exception(transfer.failure);
  if (transfer.stopped) throw Interrupted("the download was stopped", url);
  if (transfer.too_long)
    throw Error("expected at most " + std::to_string(max_bytes) + " bytes, found more", url);
  if (code != CURLE_OK) {
    const std::string reason = detail[0] != '\0' ? detail.data() : library.easy_strerror(code);
    throw Error("the download failed: " + reason, url, kNetworkHint);
  }
  long status = 0;
  library.easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
  if (status != 200) {
    throw Error("the download failed: expected HTTP status 200, found " + std::to_string(status),
                url, kNetworkHint);
  }
  return std::move(transfer.body);
}

std::string UnzipMember(std::string_view zip, const std::string& member, size_t max_bytes) {
  const ZipArchive archive = OpenZip(zip, member);
  const zip_int64_t index = zip_name_locate(archive.get(), member.c_str(), 0);
  if (index < 0) throw Error("not in the archive", member);
  zip_stat_t stat;
  zip_stat_init(&stat);
  if (zip_stat_index(archive.get(), static_cast<zip_uint64_t>(index), 0, &stat) != 0 ||
      !(stat.valid & ZIP_STAT_SIZE)) {
    throw Error("damaged in the archive: its size is not known", member);
  }
  if (stat.size > max_bytes) {
    throw Error("expected at most " + std::to_string(max_bytes) + " bytes in the archive, found " +
                    std::to_string(stat.size),
                member);
  }
  const ZipFile file(zip_fopen_index(archive.get(), static_cast<zip_uint64_t>(index), 0));
  if (file == nullptr) {
    throw Error(std::string("damaged in the archive: ") + zip_strerror(archive.get()), member);
  }
  return ReadZipFile(file.get(), static_cast<size_t>(stat.size), member);
}

}  // namespace quantref
