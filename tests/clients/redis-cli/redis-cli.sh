#!/usr/bin/env bash
# redis-cli of Debian, with the settings that it has by default.
set -euo pipefail
handled=0 # [test]

say() {
    echo "- $*"
}

# Fields that redis-cli prints in a line each, as the story has them.
shown() {
    paste --serial --delimiters '= ' "$@"
}

# [paste
redis-cli -p $PORT publish orders created one
redis-cli -p $PORT append orders 0 paid two '' ''       # if event 0 is its last one
redis-cli -p $PORT read stream orders 0 100             # from 0 on, at most 100; first where to go on

last=0                                                  # '$': what comes from now on
while true; do
    found=$(redis-cli -p $PORT xread count 1 block 0 streams orders "$last")
    { read -r stream; read -r last; read -r name; read -r data; } <<< "$found"
    echo "$last $name $data"                            # 1790000000000-0 created one
    say "xread $name=$data" # [test]
    ((++handled < 3)) || break # [test]
done
# paste]

say "read $(redis-cli -p $PORT read stream orders 0 2 | sed -n '6,7p; 15,16p' | shown -)"

# One message of a subscription, once that is there.  KIND LINES-BEFORE-THE-CHANNEL OPTION...
message() {
    local kind=$1 skipped=$2 line channel data
    shift 2
    coproc redis-cli -p $PORT "$@"
    local program=$COPROC_PID
    for _ in 1 2 3; do read -r line <&"${COPROC[0]}"; done     # kind, name, how many there are
    say "${kind}d"
    for ((; skipped; skipped--)); do read -r line <&"${COPROC[0]}"; done
    { read -r channel; read -r data; } <&"${COPROC[0]}"
    say "$kind $channel $data"
    kill "$program"
    wait "$program" || true
}

message psubscribe 2 psubscribe 'ord*'
message subscribe 1 -n 1 subscribe orders

receivers=$(redis-cli -p $PORT publish news:1 hello)
say "published $receivers $(redis-cli -p $PORT xrange news:1 - + | tail --lines 2 | shown -)"

say "xadd $(redis-cli -p $PORT xadd orders '*' closed six | cut --delimiter - --fields 2)"
redis-cli -p $PORT xgroup create orders billing 0
given=$(redis-cli -p $PORT xreadgroup group billing ann count 2 streams orders '>')
say "xreadgroup $(sed -n '3,4p; 6,7p' <<< "$given" | shown -)"
say "xack $(redis-cli -p $PORT xack orders billing $(sed -n '2p; 5p' <<< "$given"))"
say "xpending $(redis-cli -p $PORT xpending orders billing | head --lines 1)"

# Bob takes what ann was given and did not finish, and an operator sees that.
redis-cli -p $PORT xreadgroup group billing ann count 1 streams orders '>'
say "xautoclaim $(redis-cli -p $PORT xautoclaim orders billing bob 0 0 | sed -n '3,4p' | shown -)"
say "waits for $(redis-cli -p $PORT xpending orders billing - + 10 | sed -n '2p; 4p' | paste --serial --delimiters ' ' -)"
# The value that stands behind a name, as redis-cli prints a map's.
value() {
    sed -n "/^$1\$/{n;p}" | paste --serial --delimiters ' ' -
}
groups=$(redis-cli -p $PORT xinfo groups orders)
say "xinfo $(redis-cli -p $PORT xinfo stream orders | value length)" "$(value name <<< "$groups")" \
    "$(value pending <<< "$groups") $(redis-cli -p $PORT xinfo consumers orders billing | value name)"

ids=$(for number in {1..100}; do echo "xadd batch:1 * counted $number"; done | redis-cli -p $PORT)
say "pipelined $(wc --lines <<< "$ids") stored $(redis-cli -p $PORT xlen batch:1)"
pair=$(printf '%s\n' multi 'xadd pair * debited 1' 'xadd pair * credited 1' exec | redis-cli -p $PORT)
say "multi $(grep --count -- '^[0-9]*-[0-9]$' <<< "$pair")"
refused=$(printf '%s\n' multi 'xadd pair * debited 2' 'xlen pair' exec | redis-cli -p $PORT)
if grep --quiet '^EXECABORT' <<< "$refused"; then
    say "multi refused $(redis-cli -p $PORT xlen pair)"
fi

# One redis-cli before and after: the command that finds nobody makes it say so, and connect again.
# One that listens ends with the server, and is started again.
exec {heard}< <(while true; do redis-cli -p $PORT psubscribe 'ord*' 2> /dev/null || sleep 0.1; done)
listening=$!
until read -r line <&"$heard" && [[ $line == psubscribe ]]; do :; done
coproc redis-cli -p $PORT 2>&1
echo ping >&"${COPROC[1]}"
read -r answer <&"${COPROC[0]}"
say "ready for an outage"
read -r _
for _ in {1..600}; do
    echo ping >&"${COPROC[1]}"
    read -r answer <&"${COPROC[0]}"
    [[ $answer != PONG ]] || break
    sleep 0.1
done
[[ $answer == PONG ]] && say "reconnected"
until read -r line <&"$heard" && [[ $line == pmessage ]]; do :; done
{ read -r line; read -r channel; read -r data; } <&"$heard"
say "psubscribe $channel $data"
kill "$listening"

export REDISCLI_AUTH='correct horse'
say "secure $(redis-cli -p $TLS_PORT --tls --cacert "$CA" --user ann acl whoami)"
