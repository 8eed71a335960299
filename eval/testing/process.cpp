#include "eval/testing/process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <string_view>
#include <system_error>
#include <utility>

extern char** environ;

namespace quantref::testing {
namespace {

[[noreturn]] void ThrowErrno(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

std::vector<std::string> Environment(const ProcessOptions& options) {
  std::vector<std::string> variables;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text = *variable;
    const std::string name(text.substr(0, text.find('=')));
    if (name.starts_with("QUANTREF_") || name == "COLUMNS" || options.environment.contains(name))
      continue;
    variables.emplace_back(text);
  }
  for (const auto& [name, value] : options.environment) {
    if (value) variables.push_back(name + "=" + *value);
  }
  return variables;
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& text : strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Both ends close on exec; the child's copies, made by dup2, do not.
std::array<int, 2> MakePipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) ThrowErrno("pipe");
  return ends;
}

void Limit(decltype(RLIMIT_AS) resource, const std::optional<size_t>& bytes) {
  if (!bytes) return;
  const rlimit limit = {*bytes, *bytes};
  ::setrlimit(resource, &limit);
}

// Everything a child needs, made before the fork: between fork and exec only system calls are safe.
struct Child {
  std::vector<char*> arguments, environment;
  std::string folder, output_path, error_path;
  std::vector<int> closed;
  std::optional<size_t> file_size_limit, address_space_limit;
  int out, err;

  [[noreturn]] void Exec() const {
    const auto output = [](const std::string& path, int otherwise) {
      return path.empty() ? otherwise : ::open(path.c_str(), O_WRONLY | O_CREAT, 0666);
    };
    const int input = ::open("/dev/null", O_RDONLY);
    ::dup2(input, STDIN_FILENO);
    ::dup2(output(output_path, out), STDOUT_FILENO);
    ::dup2(output(error_path, err), STDERR_FILENO);
    for (const int descriptor : closed) ::close(descriptor);
    if (!folder.empty() && ::chdir(folder.c_str()) != 0) ::_exit(126);
    Limit(RLIMIT_FSIZE, file_size_limit);
    Limit(RLIMIT_AS, address_space_limit);
    ::execve(arguments[0], arguments.data(), environment.data());
    ::_exit(127);
  }
};

// Appends what the pipe has; closes it at its end.
void Drain(int& pipe, std::string& text) {
  char buffer[4096];
  const ssize_t got = ::read(pipe, buffer, sizeof(buffer));
  if (got > 0) {
    text.append(buffer, static_cast<size_t>(got));
  } else if (got == 0 || errno != EINTR) {
    ::close(std::exchange(pipe, -1));
  }
}

}  // namespace

Process::Process(const std::vector<std::string>& arguments, const ProcessOptions& options)
    : deadline_(Clock::now() + options.timeout) {
  std::vector<std::string> argument_strings = arguments, variables = Environment(options);
  const auto [out, child_out] = MakePipe();
  const auto [err, child_err] = MakePipe();
  const Child child = {.arguments = Pointers(argument_strings),
                       .environment = Pointers(variables),
                       .folder = options.folder.string(),
                       .output_path = options.standard_output.string(),
                       .error_path = options.standard_error.string(),
                       .closed = options.closed,
                       .file_size_limit = options.file_size_limit,
                       .address_space_limit = options.address_space_limit,
                       .out = child_out,
                       .err = child_err};
  pid_ = ::fork();
  if (pid_ == 0) child.Exec();
  ::close(child_out);
  ::close(child_err);
  out_ = out;
  err_ = err;
  if (pid_ < 0) ThrowErrno("fork");
}

Process::~Process() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  for (int pipe : {out_, err_}) {
    if (pipe >= 0) ::close(pipe);
  }
}

bool Process::Collect() {
  if (out_ < 0 && err_ < 0) return false;
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline_ - Clock::now());
  pollfd polled[] = {{out_, POLLIN, 0}, {err_, POLLIN, 0}};  // poll ignores negative ones
  const int ready = ::poll(polled, 2, static_cast<int>(std::max<long>(0, left.count())));
  if (ready == 0) result_.timed_out = true;
  if (ready == 0 || (ready < 0 && errno != EINTR)) return false;
  if (polled[0].revents != 0) Drain(out_, result_.out);
  if (polled[1].revents != 0) Drain(err_, result_.err);
  return true;
}

bool Process::WaitForError(const std::string& text) {
  while (result_.err.find(text) == std::string::npos) {
    if (!Collect()) return false;
  }
  return true;
}

std::optional<double> Process::Work() const {
  clockid_t clock = 0;
  timespec used{};
  if (::clock_getcpuclockid(pid_, &clock) != 0 || ::clock_gettime(clock, &used) != 0)
    return std::nullopt;
  return static_cast<double>(used.tv_sec) + 1e-9 * static_cast<double>(used.tv_nsec);
}

void Process::WaitForWork(double seconds) {
  std::optional<double> work;
  do {
    ::usleep(10'000);
    work = Work();
  } while (work && *work < seconds && Clock::now() < deadline_);
}

void Process::Signal(int signal) {
  if (pid_ > 0) ::kill(pid_, signal);  // kill(-1) would mean every process
}

ProcessResult Process::Wait() {
  while (Collect()) {
  }
  if (result_.timed_out) ::kill(pid_, SIGKILL);
  int status = 0;
  rusage used{};
  while (::wait4(pid_, &status, 0, &used) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  for (const timeval& time : {used.ru_utime, used.ru_stime})
    result_.work += static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  if (WIFEXITED(status)) result_.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result_.signal = WTERMSIG(status);
  return result_;
}

ProcessResult RunProcess(const std::vector<std::string>& arguments, const ProcessOptions& options) {
  Process process(arguments, options);
  return process.Wait();
}

}  // namespace quantref::testing
