# Sourced by tools/setup and its parts: the system's packages.

has_apt() { [ -f /etc/debian_version ] && command -v apt-get >/dev/null; }

# The version of clang that the distribution's package `clang` stands for, installed or not.
clang_major() {
  if command -v clang++ >/dev/null; then
    clang++ -dumpversion | cut -d. -f1
  else
    apt-cache depends clang 2>/dev/null | sed -n 's/.*Depends: clang-\([0-9]*\)$/\1/p' | head -n 1
  fi
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    echo "tools/setup: needs root, and there is no sudo; run this as root: $*" >&2
    return 1
  fi
}

update_package_lists() {
  # A third-party source that cannot be reached must not keep the distribution's own packages from being installed.
  as_root apt-get update -qq -o DPkg::Lock::Timeout=300 </dev/null || true
}

# $@: package names. Says what it does; the package manager is heard only when it fails.
install_packages() {
  local log
  log=$(mktemp)
  echo "install    $*"
  update_package_lists >"$log" 2>&1
  if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    -o DPkg::Lock::Timeout=300 "$@" >>"$log" 2>&1 </dev/null; then
    cat "$log" >&2
    rm -f "$log"
    echo "tools/setup: apt-get could not install: $*" >&2
    return 1
  fi
  rm -f "$log"
}

# One line "URI KEYRING" per configured source of the release VERSION_CODENAME, from both formats of apt's sources.
configured_sources() {
  local file
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ -f "$file" ] || continue
    sed -nE "s/^deb +(\[[^]]*\] +)?([^ ]+) +${VERSION_CODENAME} .*/\2 \1/p" "$file" |
      sed -E 's/ .*signed-by=([^] ]+).*/ \1/; s/ \[.*//'
  done
  for file in /etc/apt/sources.list.d/*.sources; do
    [ -f "$file" ] || continue
    awk -v codename="$VERSION_CODENAME" '
      function flush(  i, n, names) {
        n = split(suites, names, " ")
        for (i = 1; i <= n; i++) if (names[i] == codename && uri != "") print uri, keyring
        uri = suites = keyring = ""
      }
      /^[ \t]*$/ { flush() }
      tolower($1) == "uris:" { uri = $2 }
      tolower($1) == "suites:" { $1 = ""; suites = $0 }
      tolower($1) == "signed-by:" { keyring = $2 }
      END { flush() }' "$file"
  done
}

how_to_install() {
  case $(uname -s) in
    Darwin)
      echo "On macOS: brew install erlang rebar3 meson ninja pkg-config libuv doctest python@3.13 llvm"
      ;;
    *)
      cat <<'TEXT'
Only Debian and Ubuntu are installed automatically. Please install with your package manager:
  Erlang/OTP 25 or later with erl_interface, common_test, dialyzer, tools, eunit, ssl; rebar3
  Meson 1.0 or later, ninja, pkg-config, a C++20 compiler
  libuv, libseccomp and doctest with headers
  Python 3.12 or later (3.13 for mode owngil) with headers and a shared library (or set PYTHON to one)
  for tools/check: clang, clang-format, clang-tidy
Fedora: dnf install erlang rebar3 meson ninja-build gcc-c++ libuv-devel libseccomp-devel doctest-devel python3-devel clang-tools-extra
Arch:   pacman -S erlang rebar3 meson ninja gcc pkgconf libuv libseccomp doctest python clang
TEXT
      ;;
  esac
}
