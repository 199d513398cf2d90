#!/bin/bash
# get-emscripten.sh PREFIX
#
# Leaves a working Emscripten in the folder PREFIX:  PREFIX/bin/emcc, emcmake, em++, wasm-opt, ...
#
# It takes Debian's own packages of Emscripten, clang, lld and binaryen (suite trixie: Emscripten 3.1.69,
# LLVM 19, binaryen 120, with the system libraries already compiled) and unpacks them under PREFIX together
# with the C library they want, so that they run on an older Debian too. Nothing of the system is changed,
# and no root is needed.
#
# The packages are fetched by apt itself, with a state folder of its own under PREFIX, from the Debian mirror
# that this machine's apt sources name; apt checks the archive's signature and each file's hash.
#
# Safe to run again, and twice at once: a finished PREFIX is recognised and left as it is, a run that fails
# takes away what it began. The programs hold the path of PREFIX: move it and it has to be made anew.
#
# Environment, all optional:
#   EMSCRIPTEN_SUITE          Debian suite to take the packages from (default: trixie)
#   EMSCRIPTEN_DEBIAN_MIRROR  mirror to use instead of the one in the apt sources (for a machine that is no Debian)
#   EMSCRIPTEN_DEBIAN_KEYRING keyring to check the archive with (default: the system's debian-archive-keyring)
set -euo pipefail
export LC_ALL=C
umask 022

RECIPE=1          # raise it when this script changes what it makes
NEEDS_MB=1000     # the packages (315) and what is unpacked of them (605), both there for a while
suite=${EMSCRIPTEN_SUITE:-trixie}

# shellcheck disable=SC2034  # progress.sh reads it
me=get-emscripten
log=/dev/null
# shellcheck source-path=SCRIPTDIR source=progress.sh
. "$(dirname "${BASH_SOURCE[0]}")/progress.sh"

{ [ $# = 1 ] && [ -n "$1" ]; } || die "usage: get-emscripten.sh PREFIX"
mkdir -p "$1" 2>/dev/null || die "cannot write to $1: name another folder (for build.sh in SPOTLIGHT_CACHE)"
P=$(readlink -f "$1")
[ "$P" != / ] || die "PREFIX cannot be /"
case $P in *[[:space:]\"\'\$\\:]*) die "the path must have no blank, quote, colon, dollar or backslash: $P" ;; esac

# A finished prefix is left alone; it may belong to another user and be read-only.
stamp="$P/.get-emscripten.done"
want="$RECIPE $suite $P"
leave_if_ready() {
  if [ -f "$stamp" ] && [ "$(head -1 "$stamp")" = "$want" ] && "$P/bin/emcc" --version >/dev/null 2>&1; then
    say "ready: $(sed -n 2p "$stamp")"
    exit 0
  fi
}
leave_if_ready
[ -w "$P" ] || die "cannot write to $P: name another folder (for build.sh in SPOTLIGHT_CACHE)"
if [ -n "$(find "$P" -mindepth 1 -maxdepth 1 ! -name '.get-emscripten*' -print -quit)" ] && [ ! -e "$P/.get-emscripten.ours" ]; then
  die "$P holds something that this script did not make: give an empty or a new folder"
fi

# One run at a time; the second finds what the first has made.
exec 9>"$P/.get-emscripten.lock"
flock -n 9 || { say "waiting for another run that is installing into $P"; flock 9; }
leave_if_ready

finished=
try_folder=
clear_prefix() {
  chmod -R u+w "$P" 2>/dev/null || true
  rm -rf "$stamp" "${P:?}/usr" "${P:?}/lib" "${P:?}/lib64" "${P:?}/bin" "${P:?}/sbin" "${P:?}/etc" "${P:?}/var" "${P:?}/apt" "$P/env.sh"
}
leave() {
  local result=$?
  trap - EXIT
  stop_watched
  [ -z "$try_folder" ] || rm -rf "$try_folder"
  if [ -z "$finished" ]; then
    # Whatever failed, a full disk is the reason to name.
    if [ "$(megabytes_free "$P")" -lt 30 ]; then say "the disk of $P is full: free $NEEDS_MB MB there, or name a folder on another disk (for build.sh in SPOTLIGHT_CACHE)" >&2
    elif [ -n "${reason:-}" ]; then say "$reason" >&2
    elif [ $result -lt 128 ]; then say "stopped at an unforeseen error: see $log" >&2
    fi
    clear_prefix
    rm -f "$P/.get-emscripten.ours"
    [ $result != 0 ] || result=1
  fi
  exit $result
}
die() { reason="$*"; exit 1; }
trap leave EXIT
trap 'reason="interrupted"; exit 130' INT
trap 'reason="interrupted"; exit 143' TERM

clear_prefix
[ "$(megabytes_free "$P")" -ge $NEEDS_MB ] ||
  die "$P has $(megabytes_free "$P") MB of free disk and Emscripten needs $NEEDS_MB: free some, or name a folder on another disk (for build.sh in SPOTLIGHT_CACHE)"
: > "$P/.get-emscripten.ours"
log=$P/.get-emscripten.log
: > "$log"

for c in apt-get apt-cache dpkg dpkg-deb tar flock; do
  command -v $c >/dev/null || die "no $c here (this works on Debian and its relatives): install the emsdk and put its emcc on PATH"
done
for c in python3 node; do
  command -v $c >/dev/null || die "no $c here: install it first (apt-get install ${c/%node/nodejs})"
done
python3 -c 'import sys; sys.exit(sys.version_info < (3, 8))' || die "needs python3 3.8 or newer: upgrade $(python3 --version)"
node -e 'process.exit(parseInt(process.versions.node) < 16 ? 1 : 0)' || die "needs node 16 or newer: upgrade $(node --version)"
arch=$(dpkg --print-architecture)

# apt with a state of its own. The system's apt.conf.d stays in force (proxies, timeouts, validity rules);
# its lists, its sources, its pins, its caches and its hooks do not.
A=$P/apt
mkdir -p "$A/lists/partial" "$A/archives/partial" "$A/none" "$A/deb"
: > "$A/status"; : > "$A/empty"
keyring=${EMSCRIPTEN_DEBIAN_KEYRING:-}
if [ -z "$keyring" ]; then
  for k in /usr/share/keyrings/debian-archive-keyring.pgp /usr/share/keyrings/debian-archive-keyring.gpg; do
    [ -e "$k" ] && keyring=$k && break
  done
fi
{ [ -n "$keyring" ] && [ -e "$keyring" ]; } || die "no Debian archive keyring here: apt-get install debian-archive-keyring"
cat > "$A/apt.conf" <<EOF
#clear APT::Update;
#clear DPkg;
#clear APT::Architectures;
APT::Architecture "$arch";
APT::Architectures { "$arch"; };
APT::Install-Recommends "false";
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
Acquire::Languages "none";
Acquire::Retries "3";
Dir::State "$A";
Dir::State::status "$A/status";
Dir::State::lists "$A/lists";
Dir::Cache "$A";
Dir::Cache::archives "$A/archives";
Dir::Etc::sourcelist "$A/sources.list";
Dir::Etc::sourceparts "$A/none";
Dir::Etc::preferences "$A/empty";
Dir::Etc::preferencesparts "$A/none";
EOF
quiet() { echo "+ $*" >>"$log"; "$@" >>"$log" 2>&1 </dev/null 9>&-; }

# The mirror: what the system's sources name for a release without a dash (so no -security, no -updates) with
# component main, its own release first. Whatever is no Debian archive fails the signature check below.
if [ -n "${EMSCRIPTEN_DEBIAN_MIRROR:-}" ]; then
  mirrors=$EMSCRIPTEN_DEBIAN_MIRROR
else
  own=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release 2>/dev/null || true)
  # shellcheck disable=SC2016  # $(REPO_URI) is apt's own notation
  mirrors=$(apt-get indextargets --no-release-info --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null |
    awk -v own="$own" '$3 == "main" && $2 !~ /[-\/]/ && $1 !~ /^cdrom:/ && !seen[$1]++ { if ($2 == own) print $1; else rest = rest $1 "\n" }
                       END { printf "%s", rest }')
fi
[ -n "$mirrors" ] || die "found no Debian mirror in this machine's apt sources: name one in EMSCRIPTEN_DEBIAN_MIRROR"
mirror=
for m in $mirrors; do
  echo "deb [signed-by=$keyring] $m $suite main" > "$A/sources.list"
  if watch "asking the Debian mirror for its packages" true apt-get -c "$A/apt.conf" -q -o APT::Update::Error-Mode=any update &&
     [ -n "$(apt-cache -c "$A/apt.conf" show --no-all-versions emscripten 2>/dev/null)" ]; then
    mirror=$m
    break
  fi
done
[ -n "$mirror" ] || die "no Debian mirror with suite $suite answers (${mirrors//$'\n'/, }): check the network, or name another in EMSCRIPTEN_DEBIAN_MIRROR (details: $log)"

# Which packages: Emscripten's own dependencies name the LLVM version. Of the rest only shared libraries are followed.
pkgs=$(apt-cache -c "$A/apt.conf" depends --recurse --important emscripten patchelf 2>/dev/null | python3 -c '
import re, sys
graph, node = {}, None
for line in sys.stdin:
    line = line.rstrip()
    if not line.startswith((" ", "|", "<")):
        node = graph.setdefault(line, [])
    elif node is not None:
        m = re.match(r"[ |]+(?:Pre)?Depends: (\S+)$", line)
        if m:
            node.append(m.group(1).split(":")[0])
v = sorted((int(m.group(1)) for d in graph["emscripten"] for m in [re.match(r"clang-(\d+)$", d)] if m))[-1]
roots = ["emscripten", "binaryen", "node-acorn", "patchelf", "clang-%d" % v, "lld-%d" % v, "llvm-%d" % v, "libclang-common-%d-dev" % v]
lib = re.compile(r"(lib(?!clang1-|objc|pfm|c-|curl|node).*(?<!-dev)(?<!-bin)|zlib1g)$")
todo, have = list(roots), []
while todo:
    p = todo.pop()
    if p in have or p not in graph:
        continue
    have.append(p)
    if p not in ("emscripten", "node-acorn"):
        todo += [d for d in graph[p] if lib.match(d)]
gone = [r for r in roots if r not in have]
if gone:
    sys.exit("packages not found: " + " ".join(gone))
print(" ".join(sorted(have)))
' 2>>"$log") || die "the mirror $mirror lacks packages of Debian $suite: name another in EMSCRIPTEN_DEBIAN_MIRROR (details: $log)"
read -ra pkgs <<<"$pkgs"
V=$(printf '%s\n' "${pkgs[@]}" | sed -n 's/^clang-\([0-9]*\)$/\1/p')
E=$P/usr/share/emscripten

# Fetch, checked by apt.
cd "$A/deb"
count=${#pkgs[@]}
total_mb=$(apt-get -c "$A/apt.conf" -q --print-uris download "${pkgs[@]}" 2>>"$log" | awk '{ sum += $3 } END { printf "%d", sum / 1e6 }')
fetched_so_far() {
  printf '%d of %d packages, %d of %d MB' "$(find . -name '*.deb' | wc -l)" "$count" "$(($(du -sk . | cut -f1) * 1024 / 1000000))" "$total_mb"
}
watch "fetching Emscripten and LLVM $V ($total_mb MB)" fetched_so_far apt-get -c "$A/apt.conf" -q download "${pkgs[@]}" ||
  die "the download from $mirror broke off: check the network and run this again (details: $log)"
for p in "${pkgs[@]}"; do
  compgen -G "${p}_*.deb" >/dev/null || die "$p was not downloaded: run this again (details: $log)"
done

# Unpack. Of the 1.6 GB of compiled system libraries keep the plain ones and the common -flto ones; what is left out
# (-fPIC, WasmFS, unusual LTO variants) Emscripten builds by itself when it is asked for.
lto=cache/sysroot/lib/wasm32-emscripten/lto
unpack_all() {
  local d
  for d in *.deb; do
    dpkg-deb --fsys-tarfile "$d" | tar -x -C "$P" --no-same-owner --wildcards \
      --exclude='./usr/share/doc' --exclude='./usr/share/man' --exclude='./usr/share/lintian' --exclude='./usr/share/locale' \
      --exclude='./usr/share/python3' --exclude='*/gconv' --exclude='./usr/include' --exclude='./etc' --exclude='./usr/share/gdb' \
      --exclude='./usr/share/bash-completion' --exclude='./usr/share/zsh' --exclude='./usr/share/gcc' \
      --exclude="*/emscripten/test" --exclude="*/emscripten/out" --exclude="*/wasm32-emscripten/pic" --exclude="*/wasm32-emscripten/lto-pic" \
      --exclude='*/libwasmfs*' --exclude="*/$lto/*san*" --exclude="*/$lto/*-ww*" --exclude="*/$lto/*-debug*" --exclude="*/$lto/*-except.a" \
      --exclude="*/$lto/libGL-*emu*" --exclude="*/$lto/libGL-*ofb*" --exclude="*/$lto/libGL-*es3*" || return
    rm "$d"
    echo "unpacked $d"
  done
}
unpacked_so_far() { printf '%d of %d packages' "$(grep -c '^unpacked ' "$log")" "$count"; }
watch "unpacking" unpacked_so_far unpack_all || die "could not unpack the packages into $P (details: $log)"
cd "$P"
rm -rf "$A"

# Make the programs use the libraries beside them.
say "setting it up"
ld=$(find "$P/usr/lib" -name 'ld-linux*.so.*' -print -quit)
[ -n "$ld" ] || die "no dynamic loader among the packages: Debian $suite has changed, name another in EMSCRIPTEN_SUITE"
L=$(dirname "$ld")
B=$P/usr/lib/llvm-$V/bin
# Keep of LLVM's programs those that Emscripten uses (llvm-objdump and -symbolizer would want libcurl and all
# that it wants; wasm-dis shows what is in a .wasm as well).
for f in "$B"/*; do
  case ${f##*/} in
    clang|clang++|"clang-$V"|clang-scan-deps|lld|wasm-ld|llvm-ar|llvm-ranlib|llvm-nm|llvm-objcopy|llvm-strip|llvm-readobj|llvm-readelf|llvm-dwarfdump|llvm-dwp|llvm-link|llvm-size|llvm-cxxfilt) ;;
    *) rm -f "$f" ;;
  esac
done
elf() { [ "$(head -c4 "$1" | tr -d '\0')" = $'\177ELF' ]; }
patchelf() { "$ld" --library-path "$L" "$P/usr/bin/patchelf" "$@"; }
for f in "$L"/*.so*; do              # libraries with a search path of their own: beside themselves
  if [ ! -L "$f" ] && elf "$f" && [ -n "$(patchelf --print-rpath "$f" 2>/dev/null)" ]; then
    # shellcheck disable=SC2016  # $ORIGIN is the loader's own notation
    quiet patchelf --force-rpath --set-rpath '$ORIGIN' "$f" || die "could not set the library path of $f (details: $log)"
  fi
done
for f in "$B"/* "$P"/usr/bin/*; do
  if [ ! -L "$f" ] && [ "$f" != "$P/usr/bin/patchelf" ] && elf "$f"; then
    quiet patchelf --set-interpreter "$ld" --force-rpath --set-rpath "$L" "$f" || die "could not set the library path of $f (details: $log)"
    outside=$("$ld" --list "$f" 2>&1 | awk -v p="$P/" '$2 == "=>" && index($3, p) != 1 { print $1 }')
    [ -z "$outside" ] || die "${f##*/} finds no ${outside//$'\n'/ } among the packages: Debian $suite has changed, name another in EMSCRIPTEN_SUITE"
  fi
done

# Emscripten's settings. Without CACHE the compiled libraries are ignored; acorn must lie where Emscripten's
# own scripts look for it.
mkdir -p "$P/bin"
mv "$P/usr/share/nodejs" "$E/node_modules"
cat > "$E/.emscripten" <<EOF
import os, shutil
EMSCRIPTEN_ROOT = '$E'
LLVM_ROOT = '$B'
BINARYEN_ROOT = '$P/usr'
NODE_JS = os.environ.get('EMSCRIPTEN_NODE') or shutil.which('node') or 'node'
CACHE = '$E/cache'
FROZEN_CACHE = not os.access(CACHE, os.W_OK)  # a user who may not write here does with what is there
EOF
for n in em++ emar embuilder emcc emcmake em-config emconfigure emmake emnm emranlib emrun emsize emstrip emsymbolizer; do
  [ -e "$E/$n" ] || continue
  printf '#!/bin/sh\nunset EM_LLVM_ROOT EM_BINARYEN_ROOT\nEM_CONFIG=%s/.emscripten exec %s/%s "$@"\n' "$E" "$E" "$n" > "$P/bin/$n"
  chmod 755 "$P/bin/$n"
done
for f in "$P"/usr/bin/wasm*; do
  [ ! -e "$f" ] || [ "${f##*/}" = "wasm-ld-$V" ] || ln -sfn "../usr/bin/${f##*/}" "$P/bin/${f##*/}"
done
for n in wasm-ld llvm-nm llvm-dwarfdump; do ln -sfn "../usr/lib/llvm-$V/bin/$n" "$P/bin/$n"; done
# shellcheck disable=SC2016  # $PATH is for the reader of env.sh
printf 'export PATH="%s/bin:$PATH"\n' "$P" > "$P/env.sh"

# Prove it: SIMD, threads and an ES module, run in node.
try_folder=$(mktemp -d)
T=$try_folder
cat > "$T/t.c" <<'EOF'
#include <pthread.h>
#include <stdio.h>
#include <wasm_simd128.h>
static void *work(void *p) {
  v128_t a = wasm_f32x4_splat(*(float *)p), s = wasm_f32x4_add(wasm_f32x4_mul(a, a), a);
  *(float *)p = wasm_f32x4_extract_lane(s, 3);
  return 0;
}
int main(void) {
  float x = 6;
  pthread_t t;
  if (pthread_create(&t, 0, work, &x) || pthread_join(t, 0)) return 1;
  printf("%g\n", x);
  return x != 42;
}
EOF
watch "trying it" true "$P/bin/emcc" -O2 -msimd128 -pthread -sPTHREAD_POOL_SIZE=1 -sEXIT_RUNTIME -sMODULARIZE -sEXPORT_ES6 -sSINGLE_FILE "$T/t.c" -o "$T/t.mjs" ||
  die "the new emcc does not work on this machine: install the emsdk and put its emcc on PATH (details: $log)"
[ "$(cd "$T" && timeout 60 node -e 'import("./t.mjs").then(m => m.default())' 2>>"$log")" = 42 ] ||
  die "node $(node --version) does not run what the new emcc makes: use another node (details: $log)"
version=$("$P/bin/emcc" -dumpversion)
printf '%s\n%s\n' "$want" "Emscripten $version, $("$B/clang" --version | sed -n '1s/.*\(clang version [0-9.]*\).*/\1/p'), $("$P/bin/wasm-opt" --version | sed 's/wasm-opt/binaryen/')" > "$stamp"
finished=yes
say "ready: $(sed -n 2p "$stamp")"
