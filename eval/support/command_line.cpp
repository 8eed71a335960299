#include "eval/support/command_line.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <sstream>

#include "eval/support/nearest.h"
#include "eval/support/say.h"
#include "eval/support/version.h"
#include "harness/base/error.h"

namespace quantref {
namespace {

// CLI11 names the option before it parses; what it would pass over, because a value is optional
// there, is an Error afterwards (RefuseEmptyArguments).
void RefuseEmptyValues(CLI::App& app) {
  for (CLI::Option* option : app.get_options()) {
    if (option->get_items_expected_max() == 0) continue;  // a flag
    option->check(CLI::Validator(
        [](const std::string& value) { return value.empty() ? kNothingFound : std::string(); },
        ""));
  }
}

CLI::Validator OneOf(const std::vector<std::string>& names) {
  return CLI::Validator(
      [names](const std::string& value) {
        const bool is_one = std::find(names.begin(), names.end(), value) != names.end();
        return is_one
                   ? ""
                   : fmt::format("expected one of {}, found '{}'", fmt::join(names, ", "), value);
      },
      fmt::format("{{{}}}", fmt::join(names, ",")));
}

// The option's name, of --name=value as well.
std::string UnknownOption(const CLI::App& app, const std::string& given) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    if (option->nonpositional()) names.push_back(option->get_name());
  }
  const std::string nearest = NearestName(given.substr(0, given.find('=')), names);
  return nearest.empty() ? "unknown option"
                         : fmt::format("unknown option (did you mean '{}'?)", nearest);
}

// What is wrong with the command line. An option that nobody knows comes first: what is missing may
// be what it was meant to give.
[[noreturn]] void Refuse(const CLI::App& app, const CLI::ParseError& error) {
  const std::string hint = app.get_name() + " --help lists the options";
  const std::vector<std::string> unread = app.remaining();
  for (const std::string& word : unread) {
    if (word.starts_with('-')) throw Error(UnknownOption(app, word), word, hint);
  }
  if (!unread.empty() && error.get_name() == "ExtrasError")
    throw Error("expected no further argument, found '" + unread[0] + "'", "command line", hint);
  throw Error(error.what(), "", hint);
}

// Of --help and --version, which the parser throws, too.
int Answer(const CLI::App& app, const CLI::ParseError& asked) {
  std::ostringstream out;
  app.exit(asked, out, out);
  PrintWhole(out.str());
  return 0;
}

}  // namespace

CommandLine::CommandLine(const std::string& program, const std::string& about)
    : program_(program), app_(std::make_unique<CLI::App>(about, program)) {}

CommandLine::~CommandLine() = default;

template <typename T>
void CommandLine::AddValue(const std::string& name, T& value, const std::string& about,
                           const OptionDetails& details) {
  CLI::Option& option = *app_->add_option(name, value, about);
  if (details.count) option.expected(details.count->first, details.count->second);
  if (details.check) option.check(details.check);
  if (!details.one_of.empty()) option.check(OneOf(details.one_of));
  if (details.value) option.type_name(*details.value);
  if (details.separator != '\0') option.delimiter(details.separator);
  if (details.one_each) option.allow_extra_args(false);
  option.required(details.required);
}

void CommandLine::Add(const std::string& name, std::string& value, const std::string& about,
                      const OptionDetails& details) {
  AddValue(name, value, about, details);
}
void CommandLine::Add(const std::string& name, std::filesystem::path& value,
                      const std::string& about, const OptionDetails& details) {
  AddValue(name, value, about, details);
}
void CommandLine::Add(const std::string& name, std::vector<std::string>& values,
                      const std::string& about, const OptionDetails& details) {
  AddValue(name, values, about, details);
}
void CommandLine::Add(const std::string& name, size_t& value, const std::string& about,
                      const OptionDetails& details) {
  AddValue(name, value, about, details);
}
void CommandLine::Add(const std::string& name, double& value, const std::string& about,
                      const OptionDetails& details) {
  AddValue(name, value, about, details);
}

void CommandLine::AddFlag(const std::string& name, bool& value, const std::string& about) {
  app_->add_flag(name, value, about);
}

void CommandLine::Exclude(const std::string& name, const std::string& other) {
  app_->get_option(name)->excludes(app_->get_option(other));
}

void CommandLine::Require(const std::string& name, const std::string& other) {
  app_->get_option(name)->needs(app_->get_option(other));
}

void CommandLine::Footer(const std::string& text) { app_->footer(text); }

std::optional<int> CommandLine::Parse(int argc, const char* const* argv) {
  app_->set_version_flag("--version", fmt::format("QuantRef {} ({}{})", kVersion, kGitCommit,
                                                  kGitDirty ? ", changed" : ""));
  RefuseEmptyValues(*app_);
  try {
    app_->parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return Answer(*app_, error);
    Refuse(*app_, error);
  }
  RefuseEmptyArguments(argc, argv);
  return std::nullopt;
}

bool CommandLine::Given(const std::string& name) const { return app_->count(name) > 0; }

}  // namespace quantref
