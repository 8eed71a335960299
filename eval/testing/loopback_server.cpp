#include "eval/testing/loopback_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "harness/base/check.h"

namespace quantref::testing {
namespace {

constexpr int kLongestWaitMs = 60'000;  // a hung test fails instead of hanging
constexpr size_t kLongestRequest = 64 * 1024;

std::string UrlAt(uint16_t port, const std::string& path) {
  return "http://127.0.0.1:" + std::to_string(port) + path;
}

int BindLoopback(uint16_t* port) {
  // A developer's proxy must not see what is meant for this machine.
  setenv("no_proxy", "127.0.0.1", 1);
  const int bound = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  QR_CHECK_LE(0, bound);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  QR_CHECK_EQ(bind(bound, generic, size), 0);
  QR_CHECK_EQ(getsockname(bound, generic, &size), 0);
  *port = ntohs(address.sin_port);
  return bound;
}

void SendAll(int client, std::string_view data) {
  while (!data.empty()) {
    const ssize_t sent = send(client, data.data(), data.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;  // the client has gone: its right
    data.remove_prefix(static_cast<size_t>(sent));
  }
}

std::string Head(const Reply& reply) {
  std::string head = "HTTP/1.1 " + std::to_string(reply.status) + " Reply\r\nConnection: close\r\n";
  if (!reply.location.empty()) head += "Location: " + reply.location + "\r\n";
  if (reply.says_length) head += "Content-Length: " + std::to_string(reply.body.size()) + "\r\n";
  return head + "\r\n";
}

// "GET /path HTTP/1.1..." -> "/path"
std::string RequestedPath(const std::string& request) {
  const size_t start = request.find(' ');
  if (start == std::string::npos) return {};
  return request.substr(start + 1, request.find(' ', start + 1) - start - 1);
}

// A network namespace of its own begins with even this interface down; ctest knows the message.
void RequireLoopback() {
  uint16_t port = 0;
  const int listener = BindLoopback(&port), probe = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  QR_CHECK_LE(0, probe);
  QR_CHECK_EQ(listen(listener, 1), 0);
  sockaddr_in address{};
  socklen_t size = sizeof(address);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  QR_CHECK_EQ(getsockname(listener, generic, &size), 0);
  const bool up = connect(probe, generic, size) == 0;
  close(probe);
  close(listener);
  if (!up) throw std::runtime_error("the loopback interface is down");
}

}  // namespace

LoopbackServer::LoopbackServer(std::map<std::string, Reply> replies)
    : replies_(std::move(replies)),
      listener_(BindLoopback(&port_)),
      stop_(eventfd(0, EFD_CLOEXEC)) {
  RequireLoopback();
  QR_CHECK_LE(0, stop_);
  QR_CHECK_EQ(listen(listener_, 16), 0);
  thread_ = std::thread([this] { Run(); });
}

LoopbackServer::~LoopbackServer() {
  const uint64_t one = 1;
  QR_CHECK_EQ(write(stop_, &one, sizeof(one)), ssize_t{sizeof(one)});
  thread_.join();
  close(stop_);
  close(listener_);
}

std::string LoopbackServer::Url(const std::string& path) const { return UrlAt(port_, path); }

bool LoopbackServer::WaitFor(int socket, short events) const {
  std::array<pollfd, 2> polled = {{{.fd = stop_, .events = POLLIN, .revents = 0},
                                   {.fd = socket, .events = events, .revents = 0}}};
  return poll(polled.data(), polled.size(), kLongestWaitMs) > 0 && polled[0].revents == 0;
}

void LoopbackServer::Run() {
  while (WaitFor(listener_, POLLIN)) {
    const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0) continue;
    Answer(client);
    close(client);
  }
}

bool LoopbackServer::ReadRequest(int client, std::string* request) const {
  std::array<char, 4096> buffer;
  while (request->find("\r\n\r\n") == std::string::npos && request->size() < kLongestRequest) {
    if (!WaitFor(client, POLLIN)) return false;
    const ssize_t got = recv(client, buffer.data(), buffer.size(), 0);
    if (got <= 0) return false;
    request->append(buffer.data(), static_cast<size_t>(got));
  }
  return true;
}

void LoopbackServer::Answer(int client) {
  std::string request;
  if (!ReadRequest(client, &request)) return;
  ++requests_;
  const auto known = replies_.find(RequestedPath(request));
  const Reply reply =
      known != replies_.end() ? known->second : Reply{.status = 404, .body = "no such file"};
  SendAll(client, Head(reply));
  SendAll(client, std::string_view(reply.body).substr(0, std::min(reply.sends, reply.body.size())));
  if (reply.stalls)
    WaitFor(client, POLLIN);  // the client sends nothing more: it is readable when it has closed
}

RefusingPort::RefusingPort() : socket_(BindLoopback(&port_)) {}

RefusingPort::~RefusingPort() { close(socket_); }

std::string RefusingPort::Url(const std::string& path) const { return UrlAt(port_, path); }

}  // namespace quantref::testing
