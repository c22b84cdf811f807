#!/bin/sh
# What try_service.sh runs in the booted system. The last line is "all as it should be", or the check that failed.
set -eu
fail() { echo "FAILED: $*"; systemctl status --no-pager --full deepreduce.service; journalctl --no-pager -b -u deepreduce.service | tail -n 30; echo "FAILED: $*"; exit 1; }
cd "$(mktemp -d)"
export HOME=/root
deepreduce=/opt/deepreduce/bin/deepreduce
plan=/var/lib/private/deepreduce/plan
ask() { $deepreduce predict 127.0.0.1:7000 --tls-ca /etc/deepreduce/tls.crt --token-file /etc/deepreduce/token \
  --protocol delphi --json "$@"; }
same() { PYTHONDONTWRITEBYTECODE=1 /opt/deepreduce/bin/python - "$@" <<'PYTHON'
import json, pathlib, sys
sys.path.insert(0, "/packaging")
import try_wheel
folder = pathlib.Path("/var/lib/private/deepreduce/plan")
pictures = sorted((folder / "samples").glob("*.png"))
answer = json.load(open(sys.argv[1]))
logits = try_wheel.expected(folder, pictures)
assert [entry["logits"] for entry in answer["predictions"]] == [list(one) for one in logits[: len(answer["predictions"])]]
assert answer["prepared"] == int(sys.argv[2]), answer["prepared"]
assert answer["predictions"] and len(pictures) >= len(answer["predictions"])
assert not answer["notes"], answer["notes"]  # nothing that was prepared has been lost
print(len(answer["predictions"]), "answers equal to the integer reference;", answer["prepared"], "left prepared")
PYTHON
}
ready() { for _ in $(seq 60); do
    journalctl -q -b -u deepreduce.service _PID="$(pid)" | grep -q '"event": "serving", "plan"' && return; sleep 1; done; fail not ready; }
pid() { systemctl show --property MainPID --value deepreduce.service; }
field() { sed -n "s/^$1:[[:space:]]*//p" "/proc/$(pid)/status"; }

systemd-analyze verify --man=no deepreduce.service || fail verify
systemctl start deepreduce.service || fail start
ready
systemctl --no-pager show --property User --property ExecMainPID --property ActiveState deepreduce.service
ask --prepare 7 >prepared.json || fail prepare
ask $plan/samples/*.png >answer.json || fail predict
same answer.json 3 || fail answers

[ "$(field Seccomp)" = 2 ] && [ "$(field NoNewPrivs)" = 1 ] && [ "$(field CapEff)" = 0000000000000000 ] || fail rights
[ "$(field Uid | cut -f 1)" != 0 ] || fail root
grep -q '^Max core file size *0 *0 ' "/proc/$(pid)/limits" || fail core files
[ "$(stat -c %a /var/lib/private/deepreduce/store)" = 700 ] || fail the mode of the store
# The unit's own restrictions, in a process that tries what they deny. Without StateDirectory=: for another user the store
# would change hands, which it takes for a copy.
grep -E '^(DynamicUser|NoNewPrivileges|Capability|Protect|Private|Restrict|Lock|Memory|SystemCall|InaccessiblePaths|Limit)' \
  /etc/systemd/system/deepreduce.service >restrictions
denied() {
  name=$1 code=$2
  set --
  while IFS= read -r line; do set -- "$@" --property "$line"; done <restrictions
  systemd-run --quiet --pipe --wait --unit "deepreduce-try-$name" "$@" python3 -c "$code" 2>&1 </dev/null | tail -n 1
}
denied nothing 'print("a program runs under them")' | tee allowed
grep -qx 'a program runs under them' allowed || fail the restrictions
denied mmap 'import mmap; mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)' | tee -a denied
denied packet 'import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)' | tee -a denied
denied write 'open("/usr/file", "w")' | tee -a denied
denied secret 'open("/etc/deepreduce/tls.key")' | tee -a denied
[ "$(grep -cE 'PermissionError|Errno (1|13|30|97)\b' denied)" = 4 ] || fail what must be denied

first=$(pid)
systemctl kill --signal KILL deepreduce.service
for _ in $(seq 30); do [ "$(pid)" != 0 ] && [ "$(pid)" != "$first" ] && break; sleep 1; done
ready
ask $plan/samples/0.png $plan/samples/1.png >killed.json || fail predict after a kill
same killed.json 1 || fail answers after a kill
echo "restarts: $(systemctl show --property NRestarts --value deepreduce.service)"
systemctl restart deepreduce.service || fail restart
ready
ask $plan/samples/0.png >again.json || fail predict after a restart
same again.json 0 || fail answers after a restart
journalctl -q -b -u deepreduce.service | grep -q 'copied or restored' && fail the store was burnt
systemctl stop deepreduce.service
echo "stopped: $(systemctl show --property Result --value deepreduce.service), $(journalctl -q -b -u deepreduce.service | grep -c '"event": "stopped"') times in order"
[ "$(systemctl show --property Result --value deepreduce.service)" = success ] || fail stop
systemd-analyze security --no-pager deepreduce.service | tail -n 1
echo "all as it should be"
