#!/bin/sh
# .venv/bin/amends of a clone. An installed script would hold the path of the environment that it was made in.
bin=$(cd "$(dirname "$0")" && pwd)
PYTHONPATH="$bin/../..${PYTHONPATH:+:$PYTHONPATH}" exec "$bin/python" -m orchestrator.cli "$@"
