# What tests/fuzz/run_hostile and tools/soak share.

# $1: the source tree, $2: the directory to work in.
prepare() {
  [ -x "$1/build/lib/erlang_python/priv/erlang_python_port" ] || { echo "$0: there is no build; run tools/build" >&2; exit 1; }
  mkdir -p "$2/ebin"
  erlc -Werror +debug_info -pa "$1/build/lib/erlang_python/ebin" -o "$2/ebin" "$1"/tests/fuzz/*.erl "$1/tests/erlang/py_test.erl"
}

# $1: ebin of the application, $2: a module whose main/1 gets the other arguments. The log of the node would bury the rest.
run_node() {
  local ebin=$1 module=$2
  shift 2
  local log=$out/$module.log
  rm -f "$log"
  cd "$out"
  exec erl -noinput -pa "$ebin" -pa "$out/ebin" \
    -kernel logger "[{handler, default, logger_std_h, #{config => #{file => \"$log\", max_no_bytes => 20000000}}}]" \
    -eval "$module:main(init:get_plain_arguments())" -extra "$@"
}
