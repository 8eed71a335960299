#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <thread>

namespace quantref::testing {

// What the server answers for one path.
struct Reply {
  int status = 200;
  std::string body{};
  std::string location{};   // of a redirect; "" = none
  bool says_length = true;  // false: no Content-Length, the body ends with the connection
  size_t sends = std::numeric_limits<size_t>::max();  // bytes of the body that really leave
  bool stalls =
      false;  // then keeps the connection open and silent until the client or the server ends
};

// A small HTTP server on 127.0.0.1 with its own thread and a port of the system's choice: the
// network of tests. It answers one connection after another, 404 for an unknown path, and stops in
// its destructor.
class LoopbackServer {
 public:
  explicit LoopbackServer(std::map<std::string, Reply> replies);
  ~LoopbackServer();
  LoopbackServer(const LoopbackServer&) = delete;
  LoopbackServer& operator=(const LoopbackServer&) = delete;

  std::string Url(const std::string& path) const;  // path starts with '/'
  size_t requests() const { return requests_; }    // answered so far

 private:
  void Run();
  void Answer(int client);
  bool ReadRequest(int client, std::string* request) const;
  bool WaitFor(int socket, short events)
      const;  // false: the server is to stop, or the bound of a wait has passed

  const std::map<std::string, Reply> replies_;
  uint16_t port_ = 0;  // declared before listener_, whose making sets it
  int listener_ = -1;
  int stop_ = -1;  // an eventfd, readable once the server is to stop
  std::atomic<size_t> requests_{0};
  std::thread thread_;
};

// A port of 127.0.0.1 that is held but not listened on: connections are refused for as long as the
// object lives.
class RefusingPort {
 public:
  RefusingPort();
  ~RefusingPort();
  RefusingPort(const RefusingPort&) = delete;
  RefusingPort& operator=(const RefusingPort&) = delete;

  std::string Url(const std::string& path) const;

 private:
  uint16_t port_ = 0;  // declared before socket_, whose making sets it
  int socket_ = -1;
};

}  // namespace quantref::testing
