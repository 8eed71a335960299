# What the scripts share. Each begins with a comment of how it is used, and sources this.

script=$(readlink -f -- "$0")
root=$(dirname -- "$(dirname -- "$script")")
# The programs' folder. QUANTREF_BIN: one where they are built already.
bin=${QUANTREF_BIN:-$root/build/release/eval}

fail() { echo "${script##*/}: $1" >&2; exit 2; }

# The comment that the script begins with.
print_usage() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$script"; }

asks_for_help() {
  local word
  for word in "$@"; do
    case $word in
      --help | -h) return 0 ;;
      --) return 1 ;;
    esac
  done
  return 1
}

# Sets up what is missing and builds these programs.
build() { [ -n "${QUANTREF_BIN:-}" ] || "$root/scripts/setup" "$@"; }

# Builds a program and becomes it. Nobody waits for help: it is the program's where that is built, else the script's usage.
run_program() {
  if ! asks_for_help "$@"; then
    build "$1"
  elif [ ! -x "$bin/$1" ]; then
    print_usage
    exit
  fi
  exec "$bin/$1" "${@:2}"
}
