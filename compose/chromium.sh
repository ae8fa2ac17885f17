#!/usr/bin/env bash
# Chromium for the tests of the page, and the font that their pictures are made with, if they are missing.
#
# Debian and Ubuntu, as root; elsewhere it says what to do. AMENDS_CHROMIUM names another one.
set -euo pipefail

chromium=${AMENDS_CHROMIUM:-/usr/bin/chromium}

if [ -x "$chromium" ]; then
    exit 0
fi
if [ -n "${AMENDS_CHROMIUM:-}" ]; then
    echo "AMENDS_CHROMIUM is $AMENDS_CHROMIUM, and nothing there can be run." >&2
    exit 1
fi
if ! command -v apt-get > /dev/null || [ "$(id -u)" != 0 ]; then
    printf '%s\n' "The tests of the page need Chromium, and there is none at $chromium." \
        "Install it:   apt-get install chromium fonts-liberation   (as root)" \
        "or name one:  export AMENDS_CHROMIUM=/path/to/chromium" >&2
    exit 1
fi
echo "Installing Chromium, some 90 MB"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends chromium fonts-liberation > /dev/null
