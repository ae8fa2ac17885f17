#!/usr/bin/env bash
# Make .venv as far as it is missing, then become the command that follows, run by its Python.
#
#   compose/bootstrap.sh demo -m services.demo    what users need: the runtime, the local stack, the demo's services
#   compose/bootstrap.sh dev -m pytest            that and the tools of development
#
# A virtual environment never stands under its name before it is complete, so that an interrupted run needs no cleaning.
# PYTHON names the interpreter to use; else it is the newest python3.14 ... python3.11 that runs. Works with the bash 3.2
# of macOS.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PACKAGES_MB=96  # requirements.lock, on Linux with Python 3.11
DEV_PACKAGES_MB=168  # what requirements-dev.lock adds
JARS_MB=45

die() {
    printf '%s\n' "$@" >&2
    exit 1
}

# A version manager leaves commands in the PATH that only print an error: so ask each to run something.
runs() {
    "$1" -c "import sys; sys.exit(not ((3, 11) <= sys.version_info < (3, 15) and sys.implementation.name == 'cpython'))" \
        >/dev/null 2>&1
}

choose_python() {
    local candidate without_pip=""
    for candidate in ${PYTHON:-python3.14 python3.13 python3.12 python3.11 python3 python}; do
        runs "$candidate" || continue
        if "$candidate" -c "import ensurepip, venv" >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
        without_pip=${without_pip:-$candidate}
    done
    if [ -n "$without_pip" ]; then
        version=$("$without_pip" -c "import sys; print('%d.%d' % sys.version_info[:2])")
        die "$without_pip can't make virtual environments: its module ensurepip is a package of its own on this system." \
            "Install it and run the same command again:   apt-get install python$version-venv"
    fi
    die "Amends needs Python 3.11, 3.12, 3.13 or 3.14, and none of them runs here." \
        "Install one and run the same command again:" \
        "    Debian, Ubuntu   apt-get install python3 python3-venv" \
        "    Fedora           dnf install python3.13" \
        "    macOS            brew install python@3.13" \
        "or name one that is not in the PATH:   make demo PYTHON=/path/to/python3"
}

# The lock's own checksum is the stamp: a changed lock makes a new environment.
stamp_of() {
    echo "$1-$(cksum < "$2" | tr ' ' '-')"
}

cache_dir() {
    if [ -n "${AMENDS_CACHE_DIR:-}" ]; then echo "$AMENDS_CACHE_DIR"
    elif [ -n "${XDG_CACHE_HOME:-}" ]; then echo "$XDG_CACHE_HOME/amends"
    elif [ "$(uname)" = Darwin ]; then echo "$HOME/Library/Caches/amends"
    else echo "${HOME:-/tmp}/.cache/amends"; fi
}

# The first line of every run: what will be fetched, how much, and where to.
announce() {
    local parts=() jars
    complete demo || parts+=("$PACKAGES_MB MB of Python packages into .venv")
    if [ "$1" = dev ]; then
        complete dev || parts+=("$DEV_PACKAGES_MB MB of development tools into .venv")
    fi
    jars=$(cache_dir)/jars
    if [ -z "${KAFKA_BOOTSTRAP_SERVERS:-}" ] && [ "$(count_jars "$jars")" -lt "$(grep -c '^[0-9a-f]' compose/kafka.lock)" ]
    then
        parts+=("$JARS_MB MB of Kafka's jars into $jars")
    fi
    if [ ${#parts[@]} -eq 0 ]; then
        echo "Amends: nothing to fetch."
    else
        local text
        text=$(printf ', %s' "${parts[@]}")
        echo "Amends fetches ${text:2}."
    fi
}

count_jars() {
    find "$1" -name '*.jar' 2>/dev/null | wc -l
}

complete() {
    case $1 in
        demo) [ -e ".venv/$(stamp_of demo requirements.lock)" ] && .venv/bin/python -c "" 2>/dev/null ;;
        dev) complete demo && [ -e ".venv/$(stamp_of dev requirements-dev.lock)" ] ;;
    esac
}

# pip's own words, but of the downloads only those that take a while.
install() {
    local python=$1 lock=$2
    "$python" -m pip install --disable-pip-version-check --no-input --no-warn-script-location --progress-bar off \
        --require-hashes --only-binary :all: -r "$lock" |
        sed -n -e 's/^ *Downloading \([^ ]*\)-[0-9].*(\([0-9.]* MB\)).*/  \1, \2/p'
}

make_environment() {
    local python partial=".venv.partial.$$" old
    python=$(choose_python)
    for old in .venv.partial.*; do  # Left by a run that was killed; not by one that is at work beside us.
        if [ -d "$old" ] && ! kill -0 "${old##*.}" 2>/dev/null; then rm -rf "$old"; fi
    done
    echo "Making .venv with $("$python" --version) ($python)"
    "$python" -m venv "$partial"
    install "$partial/bin/python" requirements.lock
    touch "$partial/$(stamp_of demo requirements.lock)"
    if complete demo; then  # Another run was quicker.
        rm -rf "$partial"
    else
        rm -rf .venv
        mv "$partial" .venv
    fi
}

is_same() {
    [ -f "$2" ] && [ "$(cksum < "$1")" = "$(cksum < "$2")" ]
}

main() {
    local kind=$1
    shift
    announce "$kind"
    complete demo || make_environment
    is_same compose/launcher.sh .venv/bin/amends || cp compose/launcher.sh .venv/bin/amends
    if [ "$kind" = dev ] && ! complete dev; then
        install .venv/bin/python requirements-dev.lock
        touch ".venv/$(stamp_of dev requirements-dev.lock)"
    fi
    [ $# -eq 0 ] || exec .venv/bin/python "$@"
}

main "$@"
