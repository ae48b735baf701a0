#!/bin/sh
# The main job, seen working: a Debian tree boots in a container, and its network
# just works. Run by `make demo` inside a host of its own (netns-host), where rspawn
# is installed and $TREE is a tree that can be written to.
#
# usage: netns-host --install --tree bookworm -- demo/demo.sh
set -eu

machine=web
console=/tmp/console
netd_log=/tmp/netd.log
rspawn_log=/tmp/rspawn.log
netd_pid=
rspawn_pid=

if [ -z "${NO_COLOR:-}" ] && [ -t 1 ]; then
    bold=$(printf '\033[1m') dim=$(printf '\033[2m') red=$(printf '\033[31m')
    green=$(printf '\033[32m') plain=$(printf '\033[0m')
else
    bold='' dim='' red='' green='' plain=''
fi

# Milliseconds since the machine has started.
now() { awk '{ printf "%d", $1 * 1000 }' /proc/uptime; }
begun=$(now)

heading() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
indent() { sed 's/^/    /'; }
note() { printf '    %s%s%s\n' "$dim" "$*" "$plain"; }

fail() {
    printf '\n%sfailed: %s%s\n' "$red" "$*" "$plain" >&2
    for log in "$rspawn_log" "$netd_log"; do
        [ -s "$log" ] && { printf '%s\n' "-- $log"; tail -n 30 "$log" | indent; } >&2
    done
    [ -s "$console" ] && { echo '-- console'; tail -n 15 "$console" | indent; } >&2
    exit 1
}

# Shows a command, runs it, shows what it says and how long it took.
show() {
    printf '  %s$ %s%s\n' "$bold" "$*" "$plain"
    start=$(now)
    code=0
    output=$(timeout 30 "$@" 2>&1) || code=$?
    took=$(($(now) - start))
    [ -z "$output" ] || printf '%s\n' "$output" | indent
    [ "$code" = 0 ] || fail "$* (exit code $code)"
    note "$took ms"
}

# Waits until a command succeeds, at most the given number of seconds.
wait_for() {
    seconds=$1
    shift
    deadline=$(($(now) + seconds * 1000))
    until "$@" >/dev/null 2>&1; do
        [ "$(now)" -lt "$deadline" ] || return 1
        if [ -n "$rspawn_pid" ] && ! kill -0 "$rspawn_pid" 2>/dev/null; then return 1; fi
        sleep 0.02
    done
}

# Without the colours, carriage returns and cursor movements of a boot's output.
readable() { sed -e 's/\x1b\[[0-9;?]*[A-Za-z]//g' -e 's/\r//g' | grep -v '^[[:space:]]*$'; }

[ -n "${TREE:-}" ] && [ -d "$TREE" ] || fail 'TREE names no tree: run `make demo`'
os=$(. "$TREE/etc/os-release" && echo "$PRETTY_NAME")

heading 'A host of its own, and an outside behind it'
ip netns add outside
ip link add up0 type veth peer name eth0 netns outside
ip address add 198.51.100.1/24 dev up0
ip link set up0 up
ip -n outside link set lo up
ip -n outside address add 198.51.100.2/24 dev eth0
ip -n outside link set eth0 up
ip route add default via 198.51.100.2
# The resolver of /etc/resolv.conf is not there: whoever asks it is told at once.
ip route add prohibit 198.51.100.53
note 'the outside (198.51.100.2) knows the way to the host (198.51.100.1) and to nothing behind it'

heading 'netd starts'
/usr/lib/rspawn/netd >"$netd_log" 2>&1 &
netd_pid=$!
wait_for 10 test -S /run/rspawn/supervisor.sock || fail 'netd does not listen'
note "netd runs (process $netd_pid); nothing else is configured"

heading "$os boots: rspawn -n -b -D \$TREE -M $machine"
start=$(now)
rspawn -n -b -D "$TREE" -M "$machine" --console=read-only >"$console" 2>"$rspawn_log" </dev/null &
rspawn_pid=$!
wait_for 10 ping -c1 -W1 "$machine" || fail "no answer from $machine"
note "the first ping $machine is answered after $(($(now) - start)) ms, while the system still boots"
wait_for 60 grep -q 'Reached target.*multi-user' "$console" || fail 'it does not reach multi-user.target'
note "multi-user.target is reached after $(($(now) - start)) ms; the console's last lines:"
readable <"$console" | tail -n 6 | indent

heading 'It has an address, and a name'
show ip -br address show "ve-$machine"
show getent hosts "$machine"
show getent ahosts "$machine"
show rspawnctl list
show rspawnctl status "$machine"

heading 'It is reached by its name'
show ping -c1 -W5 "$machine"
wait_for 30 ssh "$machine" true || fail "ssh $machine"
show ssh "$machine" hostname
show ssh "$machine" ip -br address show host0

heading 'Its way out: NAT, so that the outside sees the host'
ip netns exec outside nc -l -v -n 198.51.100.2 8080 </dev/null >/tmp/outside 2>&1 &
outside_pid=$!
wait_for 10 ip netns exec outside sh -c "ss -Hltn 'sport = 8080' | grep -q ." || fail 'the outside does not listen'
show ssh "$machine" "bash -c 'echo hello from \$(hostname) >/dev/tcp/198.51.100.2/8080'"
wait "$outside_pid" || true
note 'what the outside saw:'
indent </tmp/outside
grep -q 'hello from' /tmp/outside || fail 'nothing came through'
grep -q '198\.51\.100\.1 ' /tmp/outside || fail 'the outside did not see the address of the host'

heading 'It is shut down'
start=$(now)
ssh "$machine" systemctl poweroff >/dev/null 2>&1 || true
code=0
wait "$rspawn_pid" || code=$?
rspawn_pid=
[ "$code" = 0 ] || fail "rspawn ended with $code"
note "rspawn ended with 0 after $(($(now) - start)) ms"
if getent -s rspawn hosts "$machine" >/dev/null; then fail "the name $machine is left"; fi
kill "$netd_pid"
wait "$netd_pid" || fail 'netd did not end in order'
note 'its name, its link and its cgroup are gone; netd has ended'

printf '\n%sall of it worked, in %s ms%s\n' "$green" "$(($(now) - begun))" "$plain"
