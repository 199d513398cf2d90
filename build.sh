#!/bin/bash
# ./build.sh COMMAND: gets what is missing, builds, serves and tests. Without a command it prints what there is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export LC_ALL=C

EMSCRIPTEN_AT_LEAST=3.1.69   # the first with the opcodes of relaxed SIMD that engines have now; older ones are not tried
NODE_AT_LEAST=20.16
CMAKE_AT_LEAST=3.25

# shellcheck disable=SC2034  # progress.sh reads it
me=spotlight
log=/dev/null
# shellcheck source-path=SCRIPTDIR source=tools/progress.sh
. tools/progress.sh
trap 'stop_watched' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

cache=${SPOTLIGHT_CACHE:-${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}/spotlight-attention}

help() {
  cat <<EOF
./build.sh COMMAND

  build              compile the WebAssembly modules into web/lib/wasm
  serve              build, then serve the page and its manual on 127.0.0.1 (--port N, --no-isolation)
  docs               build the manual into build/docs: guides, reference of the module, C manual
  pack               build, then make dist: the npm package, the page as one file and as a folder for any host
  test [PART ...]    build everything and run every test, or only these parts:
                     native asan tsan memcheck fuzz wasm format types tools js page browsers conformance docs pack
  fuzz [TARGET ...]  search for input that breaks the C functions or the readers of files, ten minutes each:
                     sdpa layers operators files (--seconds N, --variant scalar|simd|relaxed, --jobs N;
                     --valgrind: instead every C test under valgrind, a quarter of an hour)
  bench [OPTION ...] measure against other engines, in Node and in Chromium (--quick: two minutes; --help)
  train [OPTION ...] train the model that ships, or one of your own, in build/train (web/docs/training.md; --measure:
                     only measure its heads)
  clean              remove what was built (build, dist, web/lib/wasm)
  clean --all        also remove node_modules and the compiler that was fetched
                     ($cache)

A compiler that is on PATH (emcc $EMSCRIPTEN_AT_LEAST or newer) is used; otherwise one is fetched, once per user, into
$cache
(SPOTLIGHT_CACHE names another folder).
EOF
}

# version_at_least HAVE WANT
version_at_least() { [ "$(printf '%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

# get_packages WHY PACKAGE...: by apt-get for root on Debian; for others a sentence.
get_packages() {
  local why=$1
  shift
  command -v apt-get >/dev/null ||
    die "needs $why: install it with this system's package manager (in Debian: $*)"
  [ "$(id -u)" = 0 ] || die "needs $why: run  sudo apt-get install $*  and then this again"
  mkdir -p build
  log=build/apt.log
  : >"$log"
  # A source that does not answer is no reason to stop: the packages may come from another.
  watch "asking Debian for its list of packages" true apt-get -q update || true
  watch "installing $*" installed_so_far env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install "$@" ||
    fail "apt-get could not install $*: check the network"
}

need_node() {
  command -v node >/dev/null || die "needs Node $NODE_AT_LEAST or newer and finds none on PATH: install it (nodejs.org)"
  version_at_least "$(node -p process.versions.node)" $NODE_AT_LEAST ||
    die "needs Node $NODE_AT_LEAST or newer and finds $(node --version): install a newer one (nodejs.org)"
}

# need COMMAND:PACKAGE...: every command, or the packages that bring them.
need() {
  local pair missing='' packages=()
  for pair in "$@"; do
    command -v "${pair%%:*}" >/dev/null || { missing="$missing ${pair%%:*}"; packages+=("${pair#*:}"); }
  done
  [ -n "$missing" ] || return 0
  get_packages "${missing# }" "${packages[@]}"
  for pair in "$@"; do
    command -v "${pair%%:*}" >/dev/null || die "needs ${pair%%:*} and finds none on PATH: install it (Debian's package ${pair#*:}) or mend PATH"
  done
}

need_cmake() {
  if command -v ninja >/dev/null; then generator=Ninja; need cmake:cmake
  else generator="Unix Makefiles"; need cmake:cmake make:make
  fi
  version_at_least "$(cmake --version | sed -n '1s/[^0-9]*//p')" $CMAKE_AT_LEAST ||
    die "needs cmake $CMAKE_AT_LEAST or newer and finds $(cmake --version | sed -n '1s/[^0-9]*//p'): install a newer one"
}

# Puts an emcc that is new enough on PATH.
need_emscripten() {
  local found
  if command -v emcc >/dev/null; then
    found=$(emcc -dumpversion 2>/dev/null | sed 's/-.*//' || true)
    if [ -n "$found" ] && version_at_least "$found" $EMSCRIPTEN_AT_LEAST; then
      emscripten="$(command -v emcc) $found"
      return
    fi
    say "the emcc on PATH (${found:-it does not run}) is older than $EMSCRIPTEN_AT_LEAST: not used"
  fi
  case $cache in
    /spotlight-attention) die "needs a folder for the compiler and HOME is not set: name one in SPOTLIGHT_CACHE" ;;
    /*) ;;
    *) die "needs an absolute path for the compiler's folder, not $cache: set SPOTLIGHT_CACHE" ;;
  esac
  command -v apt-get >/dev/null || die "needs Emscripten $EMSCRIPTEN_AT_LEAST or newer: install the emsdk and put its emcc on PATH (only on Debian and its relatives is it fetched)"
  need python3:python3 flock:util-linux
  tools/get-emscripten.sh "$cache/emscripten" || exit 1
  PATH="$cache/emscripten/bin:$PATH"
  emscripten="$cache/emscripten $(sed -n 2p "$cache/emscripten/.get-emscripten.done")"
}

# One build at a time in this folder.
lock() {
  mkdir -p build
  exec 9>build/.lock
  flock -n 9 || { say "waiting for another build in this folder"; flock 9; }
}
unlock() { exec 9>&-; }

# compile NAME TARGET STAMP COMMAND...: configures build/NAME with COMMAND unless that was done with the same STAMP,
# then builds TARGET there.
compile() {
  local name=$1 target=$2 stamp
  stamp="$PWD $generator $3 $(cmake --version | head -n 1)"
  shift 3
  log=build/$name.log
  : >"$log"
  if [ "$(cat "build/$name/.configured" 2>/dev/null)" != "$stamp $*" ]; then
    rm -rf "build/$name"
    watch "configuring $name" true "$@" -S . -B "build/$name" -G "$generator" || show_log "configuring $name failed"
    printf '%s' "$stamp $*" >"build/$name/.configured"
  fi
  watch "compiling $name" steps_so_far cmake --build "build/$name" --target "$target" --parallel "$(nproc)" || show_log "compiling $name failed"
}

# fail SENTENCE: where the disk is full, that is what has to be said instead.
fail() {
  if [ "$(megabytes_free .)" -lt 5 ] || grep -qE 'ENOSPC|No space left on device' "$log" 2>/dev/null; then
    die "the disk is full: free some of it and run this again"
  fi
  die "$1, then run this again (details: $log)"
}

# show_log WHAT: the end of $log without its progress lines, then the sentence.
show_log() {
  grep -v '^\[' "$log" | tail -n 60 >&2 || true
  fail "$1: mend it"
}

compile_wasm() {
  local sources
  sources=$(node tools/stamp.mjs sources)
  compile wasm "$1" "$emscripten node $(node --version)" emcmake cmake
  node tools/stamp.mjs write "$sources"
}

report_sizes() {
  local file
  for file in web/lib/wasm/*.wasm; do
    [ -e "$file" ] || continue
    printf '  %-38s %8d bytes, %7d gzipped\n' "$file" "$(wc -c <"$file")" "$(gzip -9c "$file" | wc -c)"
  done
}

# need_node_modules [FOLDER]: the node_modules of FOLDER as its lock file has them.
need_node_modules() {
  local folder=${1:-.} want
  command -v npm >/dev/null || die "needs npm and finds none on PATH: install it (it comes with Node)"
  want=$(cd "$folder" && cat package.json package-lock.json .npmrc | sha256sum)
  [ "$(cat "$folder/node_modules/.spotlight-lock" 2>/dev/null)" != "$want" ] || return 0
  log=build/npm.log
  : >"$log"
  watch "installing the development packages of ${1:+$1/}package-lock.json" true \
    npm ci --prefix "$folder" --no-audit --no-fund --no-progress --prefer-offline \
    --fetch-retry-mintimeout=1000 --fetch-retry-maxtimeout=5000 || {
    rm -rf "$folder/node_modules"
    fail "npm could not install the development packages: check the network"
  }
  printf '%s' "$want" >"$folder/node_modules/.spotlight-lock"
}

build() {
  need_node
  need_cmake
  need_emscripten
  lock
  compile_wasm modules
  unlock
}

# docs: the manual, unless build/docs is that of the same sources.
docs() {
  local stamp
  need_node
  stamp=$(cat build.sh package.json tools/docs/*.* web/docs/* web/lib/*.d.ts web/lib/*/*.d.ts include/attn.h | sha256sum)
  [ "$(cat build/docs/.built 2>/dev/null)" != "$stamp" ] || return 0
  need_node_modules tools/docs
  log=build/docs.log
  : >"$log"
  watch "making the manual" true node tools/docs/build.mjs || show_log "making the manual failed"
  printf '%s' "$stamp" >build/docs/.built
}

bench() {
  case " $* " in
    *" --help "* | *" --markdown "*) exec node tests/bench/run.mjs "$@" ;;
    *" --quick "* | *" --node "* | *" --sweep "* | *" --long "* | *" --llama "* | *" --profile "* | *" --native "*) ;;
    *)
      export SPOTLIGHT_CHROMIUM=${SPOTLIGHT_CHROMIUM:-/usr/bin/chromium}
      [ -x "$SPOTLIGHT_CHROMIUM" ] || get_packages Chromium chromium
      ;;
  esac
  build
  lock
  case " $* " in *" --profile "*) compile_wasm tile_loops ;; esac
  need_node_modules
  need_node_modules tests/bench
  version_at_least "$(node -p process.versions.node)" 24 || need_node_modules tests/bench/node24
  case " $* " in *" --native "*) need_node_modules tests/bench/native ;; esac
  unlock
  exec node tests/bench/run.mjs "$@"
}

need_native_compiler() {
  local packages=() missing=''
  command -v cc >/dev/null || { missing="$missing, a C compiler"; packages+=(gcc libc6-dev); }
  [ -e /usr/include/simde/wasm/simd128.h ] || { missing="$missing, SIMDe"; packages+=(libsimde-dev); }
  [ ${#packages[@]} = 0 ] || get_packages "${missing#, }" "${packages[@]}"
}

compile_native() { compile native "$1" "$(cc --version | head -n 1)" cmake; }

# need_fuzzer VARIANT: clang with libFuzzer, and the targets of the variant in build/fuzz-VARIANT.
need_fuzzer() {
  [ -e "$(clang -print-runtime-dir 2>/dev/null)/libclang_rt.fuzzer-$(uname -m).a" ] ||
    get_packages "clang with its sanitizers" clang libclang-rt-14-dev
  compile "fuzz-$1" fuzz "$(clang --version | head -n 1)" cmake -DCMAKE_C_COMPILER=clang -DCMAKE_BUILD_TYPE=Debug \
    -DCMAKE_C_FLAGS_DEBUG=-O1 -DATTN_SANITIZE=address,undefined "-DATTN_FUZZ=$1"
}

fuzz() {
  local variant=simd
  case " $* " in *" --variant scalar "*) variant=scalar ;; *" --variant relaxed "*) variant=relaxed ;; esac
  need_node
  need_cmake
  need_native_compiler
  lock
  case " $* " in
    *" --valgrind "*) need valgrind:valgrind; compile_native all ;;
    " files ") ;;
    *) need_fuzzer $variant ;;
  esac
  unlock
  exec node tests/fuzz/run.mjs "$@"
}

train() {
  need_node
  need_cmake
  need_native_compiler
  lock
  compile_native training
  unlock
  exec node tools/train/train.mjs "$@"
}

# get_browsers: Firefox and WebKit, in which the tests are skipped where they cannot be had.
get_browsers() {
  local packages=()
  [ -x "${SPOTLIGHT_FIREFOX:-/usr/bin/firefox-esr}" ] || packages+=(firefox-esr)
  [ -x "${SPOTLIGHT_WEBKIT_DRIVER:-/usr/bin/WebKitWebDriver}" ] || packages+=(webkit2gtk-driver)
  command -v Xvfb >/dev/null || packages+=(xvfb)
  [ ${#packages[@]} != 0 ] || return 0
  if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then get_packages "other browsers" "${packages[@]}"
  else say "the tests in a browser that is missing are skipped: install ${packages[*]} (names of Debian's packages)"
  fi
}

all_parts="native asan tsan memcheck fuzz wasm format types tools js page browsers conformance docs pack"

run_tests() {
  local part packages=() missing='' parts=${*:-$all_parts}
  for part in $parts; do
    case " $all_parts " in *" $part "*) ;; *) help >&2; exit 2 ;; esac
  done
  wants() { for part in $parts; do case " $* " in *" $part "*) return 0 ;; esac; done; return 1; }

  need_node
  need_cmake
  if wants native asan tsan memcheck fuzz tools docs pack; then need_native_compiler; fi
  if wants format && ! command -v clang-format-14 >/dev/null && ! command -v clang-format >/dev/null; then
    missing="$missing, clang-format"; packages+=(clang-format)
  fi
  export SPOTLIGHT_CHROMIUM=${SPOTLIGHT_CHROMIUM:-/usr/bin/chromium}
  if wants page browsers docs pack && [ ! -x "$SPOTLIGHT_CHROMIUM" ]; then
    missing="$missing, Chromium"; packages+=(chromium)
  fi
  [ ${#packages[@]} = 0 ] || get_packages "${missing#, }" "${packages[@]}"
  if wants browsers; then get_browsers; fi

  if wants wasm js page browsers conformance docs pack; then need_emscripten; fi
  if wants docs; then need python3:python3; fi
  if wants memcheck; then need valgrind:valgrind; fi
  lock
  if wants types js page browsers docs pack; then need_node_modules; fi
  if wants pack; then need_node_modules tests/bundlers; fi
  if wants native memcheck; then
    compile_native all
  elif wants tools; then
    compile_native training
  fi
  if wants docs; then
    wants native memcheck || compile_native attn_simd
    docs
  fi
  if wants asan; then
    compile asan all "$(cc --version | head -n 1)" cmake -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS_DEBUG=-O1 -DATTN_SANITIZE=address,undefined
  fi
  if wants tsan; then
    compile tsan test_threads_simd-threads "$(cc --version | head -n 1)" cmake -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS_DEBUG=-O1 -DATTN_SANITIZE=thread
  fi
  if wants fuzz; then need_fuzzer simd; fi
  if wants wasm; then compile_wasm all
  elif wants js page browsers conformance docs pack; then compile_wasm modules
  fi
  unlock
  # shellcheck disable=SC2086  # a list of words
  node tests/run.mjs $parts </dev/null
}

pack() {
  build
  lock
  need_node_modules
  unlock
  node tools/pack.mjs
}

remove() {
  local path
  for path in "$@"; do
    [ -e "$path" ] || continue
    say "removing $path ($(du -sm "$path" | cut -f1) MB)"
    rm -rf "$path"
  done
}

command=${1:-help}
[ $# = 0 ] || shift
case $command in
  build)
    build
    report_sizes
    ;;
  docs)
    lock
    docs
    unlock
    say "the manual is build/docs/index.html"
    ;;
  serve)
    build
    # The page does without its manual, for instance where npm cannot be reached: docs/ then says how to build it.
    # One that is there may be older than its sources; ./build.sh docs makes it anew.
    if [ ! -e build/docs/index.html ]; then
      lock
      (docs) || say "the manual could not be made: serving the page without it"
      unlock
    fi
    exec node tools/serve.mjs "$@"
    ;;
  pack) pack ;;
  test) run_tests "$@" ;;
  fuzz) fuzz "$@" ;;
  bench) bench "$@" ;;
  train) train "$@" ;;
  clean)
    case "${*:-}" in
      '') remove build dist web/lib/wasm ;;
      --all)
        remove build dist web/lib/wasm node_modules tests/bundlers/node_modules tools/docs/node_modules tests/bench/node_modules tests/bench/*/node_modules
        [ ! -e "$cache/emscripten/.get-emscripten.lock" ] || remove "$cache/emscripten"
        rmdir "$cache" 2>/dev/null || true
        ;;
      *) help >&2; exit 2 ;;
    esac
    ;;
  help | -h | --help) help ;;
  *) help >&2; exit 2 ;;
esac
