# Runs the measurement in a guest (guest/init.sh). The variables are set by obi.rs.

section() { echo "@@ begin $1"; }
end() { echo "@@ end $1 $2"; }

echo "@@ release $(uname -r)"
# OBI reads the name of the machine.
hostname guest

section measure
"$MEASURE" --obi "$OBI" --rounds "$ROUNDS" --requests "$REQUESTS" --json /tmp/results.json 2>&1
end measure $?

section results
cat /tmp/results.json
end results $?
