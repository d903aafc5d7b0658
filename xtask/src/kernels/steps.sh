# What is asked of a kernel, in this kernel. Run by the shell of busybox, in a guest (init.sh) or on the host.
# BUSYBOX, PROBE, TESTS: programs; PORT: a free port; SCRATCH: a folder to write to.
# Lines that begin with "@@" are read by guest/console.rs; all others stand between a begin and an end.

section() { echo "@@ begin $1"; }
end() { echo "@@ end $1 $2"; }

echo "@@ release $("$BUSYBOX" uname -r)"

# Nothing needs to listen there: the probe only wants an address to watch.
shards="http://127.0.0.1:9"

section check
"$PROBE" check --json --shard-urls "$shards" 2>&1
end check $?

# Start the probe even if the check fails, so that a kernel that is too old reports its reason. The verifier's messages
# have the debug level.
LOG_LEVEL=debug "$PROBE" run --shard-urls "$shards" --port "$PORT" >"$SCRATCH/probe.log" 2>&1 &
probe=$!
tries=0
until "$BUSYBOX" wget -q -O "$SCRATCH/status" "http://127.0.0.1:$PORT/status" 2>/dev/null; do
    tries=$((tries + 1))
    kill -0 $probe 2>/dev/null && [ $tries -lt 200 ] || break
    "$BUSYBOX" sleep 0.1
done
section status
"$BUSYBOX" cat "$SCRATCH/status" 2>/dev/null && echo
end status 0
# The descriptor of a program tells how many instructions the verifier went through (since 5.16).
section programs
for descriptor in /proc/$probe/fdinfo/*; do
    "$BUSYBOX" grep -q ^prog_jited "$descriptor" 2>/dev/null && "$BUSYBOX" tr '\n\t' '  ' <"$descriptor" && echo
done
end programs 0
kill $probe 2>/dev/null
wait $probe
ended=$?
section run
"$BUSYBOX" cat "$SCRATCH/probe.log"
end run $ended

section tests
# The tests of `probe watch` need a Redis server, which a guest does not have.
CI=true RUST_BACKTRACE=0 "$TESTS" --show-output --skip store_ --skip store:: 2>&1
end tests $?
