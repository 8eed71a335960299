#include "eval/support/command_line.h"

#include <CLI/CLI.hpp>
#include <sstream>

#include "eval/support/exit_codes.h"
#include "eval/support/say.h"
#include "eval/support/version.h"

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

// What parsing throws: a wrong command line, or an answer (--help, --version).
int AnswerOf(const CLI::App& app, const CLI::ParseError& error) {
  std::ostringstream out, err;
  const bool answered = app.exit(error, out, err) == 0;
  SayText(err.str());
  PrintWhole(out.str());
  return answered ? 0 : kExitWrongInput;
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
  if (!details.one_of.empty()) option.check(CLI::IsMember(details.one_of));
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
    return AnswerOf(*app_, error);
  }
  RefuseEmptyArguments(argc, argv);
  return std::nullopt;
}

bool CommandLine::Given(const std::string& name) const { return app_->count(name) > 0; }

}  // namespace quantref
