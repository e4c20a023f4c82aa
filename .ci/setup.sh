#!/usr/bin/env bash
# Makes .venv as the lock says. A second run only compares a stamp; an interrupted run is repaired by the next.
set -euo pipefail
cd "$(dirname "$0")/.."

lock=requirements-dev.lock
build_lock=requirements-build.lock # what builds the packages that come as source
stamp=.venv/.setup-stamp
oldest_uv=0.8.0 # the first with every flag used below
system_certificates=/etc/ssl/certs/ca-certificates.crt

fail() {
    printf 'setup: %s\n' "$1" >&2
    exit 1
}

# By content and place, not by time: a fresh clone, a branch switch and a moved folder are all seen.
wanted() {
    pwd
    sha256sum "$lock" "$build_lock" pyproject.toml .python-version .ci/setup.sh
}

is_ready() { [[ -f $stamp && -x .venv/bin/python && "$(wanted)" == "$(cat "$stamp")" ]]; }

# A pyenv shim may be first on PATH and refuse to run, because .python-version names a version it has not got.
system_python() {
    local candidate
    for candidate in python3 /usr/bin/python3 /usr/local/bin/python3; do
        if "$candidate" -c '' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "no working python3; install the Debian package python3"
}

# Behind an inspecting proxy only the machine's own certificate store is right; minimal images have none.
trust_system_certificates() {
    if [[ -r $system_certificates ]]; then
        export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-1}" PIP_CERT="${PIP_CERT:-$system_certificates}"
    fi
}

# uv does not read pip's configuration; a mirror that is set up for pip alone must serve uv too.
use_index_of_pip() {
    [[ -z ${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-} ]] || return 0
    local url
    url="${PIP_INDEX_URL:-$("$1" -m pip config get global.index-url 2>/dev/null || true)}"
    if [[ -n $url ]]; then export UV_DEFAULT_INDEX="$url"; fi
}

is_new_enough() {
    local version
    version="$("$1" --version 2>/dev/null | cut -d' ' -f2)" || return 1
    [[ -n $version && "$(printf '%s\n' "$oldest_uv" "$version" | sort -V | head -n1)" == "$oldest_uv" ]]
}

find_or_install_uv() {
    local candidate python=$1 log=.tools/uv-install.log
    for candidate in "$(command -v uv || true)" .tools/bin/uv; do
        if [[ -n $candidate ]] && is_new_enough "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    echo "setup: installing uv into .tools/" >&2
    rm -rf .tools/bin .tools/uv.part
    # A bare Debian python3 has no pip: the second way needs the standard library only. Both check the locked hashes.
    "$python" -m pip install -q --no-deps --only-binary :all: --require-hashes -r .ci/uv-requirements.txt --target .tools/uv.part >"$log" 2>&1 ||
        { rm -rf .tools/uv.part && "$python" .ci/fetch_uv.py .ci/uv-requirements.txt .tools/uv.part >>"$log" 2>&1; } ||
        fail "cannot fetch uv from the package index: $(tail -n1 "$log") (all of it: $log); check the network and PIP_INDEX_URL"
    mv .tools/uv.part/bin .tools/bin
    rm -rf .tools/uv.part "$log"
    echo .tools/bin/uv
}

# uv looks on PATH and in its own folders. pyenv's versions are on neither when its shims are not set up.
find_python() {
    local uv=$1 login_home root request found
    login_home="$(getent passwd "$(id -u)" | cut -d: -f6)"
    for request in "$(cat .python-version)" ">=3.12,<3.15"; do
        for root in "" "${PYENV_ROOT:-}" "${HOME:-}/.pyenv" "$login_home/.pyenv"; do
            if [[ -z $root ]]; then
                found="$("$uv" python find --system --no-python-downloads "$request" 2>/dev/null)" && break 2
            elif [[ -d $root/versions ]]; then
                found="$(PATH="$(printf '%s:' "$root"/versions/*/bin)$PATH" \
                    "$uv" python find --system --no-python-downloads "$request" 2>/dev/null)" && break 2
            fi
        done
    done
    [[ -n ${found:-} ]] ||
        fail "no Python 3.12 to 3.14; install Debian 13's package python3, or run: $uv python install 3.12"
    echo "$found"
}

# pillow-simd is built here, and resizes half as fast again with AVX2, which every x86 server since 2015 has.
use_this_processor() {
    if grep -qsw avx2 /proc/cpuinfo; then export CC="${CC:-gcc} -mavx2"; fi
}

# The compiler asks itself: headers may lie where no package of this machine's put them.
has_header() { echo "#include <stdio.h>
#include <$1>" | "${CC:-gcc}" -E -xc - >/dev/null 2>&1; }

check_compiler() {
    local header package missing=
    command -v gcc >/dev/null || fail "no C compiler; install the Debian packages gcc, libc6-dev, libjpeg62-turbo-dev and zlib1g-dev"
    for header in jpeglib.h:libjpeg62-turbo-dev zlib.h:zlib1g-dev; do
        package="${header#*:}"
        has_header "${header%%:*}" || missing+=" $package"
    done
    [[ -z $missing ]] || fail "the headers that pillow-simd is built with are missing; install the Debian packages:$missing"
}

install_packages() {
    local uv=$1 python=$2
    # Only a stamped environment is known to be whole; anything else is made again.
    if [[ ! -f $stamp || "$(.venv/bin/python -c 'import sys; print(sys.base_prefix)' 2>/dev/null)" != \
        "$("$python" -c 'import sys; print(sys.base_prefix)')" ]]; then
        echo "setup: making .venv with $("$python" --version)" >&2
        rm -rf .venv
        "$uv" venv -q --python "$python" .venv
    fi
    rm -f "$stamp"
    echo "setup: installing the packages of $lock" >&2
    export VIRTUAL_ENV="$PWD/.venv"
    use_this_processor
    # The same Pillow everywhere: JPEG and PNG, whatever other headers this machine happens to have.
    local feature without=()
    for feature in avif freetype imagequant jpeg2000 lcms raqm tiff webp xcb; do
        without+=(--config-settings-package "pillow-simd:$feature=disable")
    done
    "$uv" pip sync -q --require-hashes --build-constraints "$build_lock" "${without[@]}" "$lock"
    # hatchling is in the lock: building the link to this folder needs no unlocked download.
    "$uv" pip install -q --no-deps --no-build-isolation -e .
    wanted >"$stamp.part"
    mv "$stamp.part" "$stamp"
}

is_ready && exit 0
check_compiler
mkdir -p .tools
exec 9>.tools/setup.lock
flock -n 9 || { echo "setup: waiting for another setup in this folder" >&2 && flock 9; }
is_ready && exit 0
python="$(system_python)"
trust_system_certificates
use_index_of_pip "$python"
uv="$(find_or_install_uv "$python")"
project_python="$(find_python "$uv")"
"$project_python" -c 'import os, sysconfig, sys; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' ||
    fail "Python's own headers are missing; install the Debian package python3-dev"
install_packages "$uv" "$project_python"
echo "setup: ready" >&2
