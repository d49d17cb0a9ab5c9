#!/usr/bin/env bash
# `make serve`: an instance, a model, the server. Each step is skipped when its result is already there.
set -euo pipefail
regalia="$BIN/regalia"

if [ ! -f "$DATA_DIR/instance.json" ]; then
    echo "==> creating an instance in $DATA_DIR"
    "$regalia" init --data-dir "$DATA_DIR" --save-key
fi

if ! "$regalia" models list --data-dir "$DATA_DIR" --json | grep -q '"name"'; then
    echo "==> fetching the model $MODEL (once)"
    "$regalia" models pull "$MODEL" --data-dir "$DATA_DIR"
fi

ask="$regalia ask"
[ "$DATA_DIR" = .regalia ] || ask="$ask --data-dir $DATA_DIR"
[ "$HOST:$PORT" = 127.0.0.1:8080 ] || ask="$ask --base-url http://$HOST:$PORT"
cat <<TEXT
==> serving on http://$HOST:$PORT (Ctrl-C stops it)
    ask it something from another terminal:
    $ask "What is the capital of Kenya?"
TEXT
exec "$regalia" serve --data-dir "$DATA_DIR" --host "$HOST" --port "$PORT"
