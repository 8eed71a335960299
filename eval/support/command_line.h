#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "eval/support/option_values.h"

namespace CLI {
class App;
}

namespace quantref {

// What besides the name and what it is for an option may say.
struct OptionDetails {
  std::optional<std::string> value{};  // what stands for it in --help
  ValueCheck check{};
  std::vector<std::string> one_of{};  // the values that there are
  bool required = false;
  std::optional<std::pair<int, int>> count{};  // of values: least and most
  char separator = '\0';                       // A,B are two values
  bool one_each = false;  // of several values: the option is given again for each
};

// The options and arguments of a program. The parser behind it, CLI11, is read by command_line.cpp
// alone: its header takes longer to compile than a program.
class CommandLine {
 public:
  // --help begins with what the program does, in a sentence.
  CommandLine(const std::string& program, const std::string& about);
  ~CommandLine();

  // An option ("--name") or argument ("NAME"); not given, the value stays as it is. References are
  // kept until Parse is done.
  void Add(const std::string& name, std::string& value, const std::string& about,
           const OptionDetails& details = {});
  void Add(const std::string& name, std::filesystem::path& value, const std::string& about,
           const OptionDetails& details = {});
  void Add(const std::string& name, std::vector<std::string>& values, const std::string& about,
           const OptionDetails& details = {});
  void Add(const std::string& name, size_t& value, const std::string& about,
           const OptionDetails& details = {});
  void Add(const std::string& name, double& value, const std::string& about,
           const OptionDetails& details = {});
  void AddFlag(const std::string& name, bool& value, const std::string& about);
  void Exclude(const std::string& name, const std::string& other);  // not both, of options above
  void Require(const std::string& name, const std::string& other);  // the first only with the other
  void Footer(const std::string& text);                             // what --help ends with

  const std::string& program() const { return program_; }

  // Reads the command line, --help and --version too. The exit code where it is answered; nothing
  // where the program may run. Throws Error where it is wrong; "" is the value of no option.
  std::optional<int> Parse(int argc, const char* const* argv);
  bool Given(const std::string& name) const;  // after Parse

 private:
  template <typename T>
  void AddValue(const std::string& name, T& value, const std::string& about,
                const OptionDetails& details);

  std::string program_;
  std::unique_ptr<CLI::App> app_;
};

}  // namespace quantref
