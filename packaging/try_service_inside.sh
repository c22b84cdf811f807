#!/bin/sh
# What try_service.sh runs in the booted system. The last line is "all as it should be", or the check that failed.
set -eu
fail() { echo "FAILED: $*"; systemctl status --no-pager --full deepreduce.service; journalctl --no-pager -u deepreduce.service | tail -n 30; echo "FAILED: $*"; exit 1; }
cd /root
export HOME=/root
deepreduce=/opt/deepreduce/bin/deepreduce
plan=/var/lib/private/deepreduce/plan
ask() { $deepreduce predict 127.0.0.1:7000 --tls-ca /etc/deepreduce/tls.crt --token-file /etc/deepreduce/token \
  --protocol delphi --json "$@"; }
same() { PYTHONDONTWRITEBYTECODE=1 /opt/deepreduce/bin/python - "$1" <<'PYTHON'
import json, pathlib, sys
sys.path.insert(0, "/packaging")
import try_wheel
folder = pathlib.Path("/var/lib/private/deepreduce/plan")
pictures = sorted((folder / "samples").glob("*.png"))
answer = json.load(open(sys.argv[1]))
logits = try_wheel.expected(folder, pictures)
assert [entry["logits"] for entry in answer["predictions"]] == [list(one) for one in logits]
print(len(pictures), "answers equal to the integer reference;", answer["prepared"], "left prepared")
PYTHON
}
ready() { for _ in $(seq 60); do
    journalctl -q -u deepreduce.service _PID="$(pid)" | grep -q '"event": "serving", "plan"' && return; sleep 1; done; fail not ready; }
pid() { systemctl show --property MainPID --value deepreduce.service; }
field() { sed -n "s/^$1:[[:space:]]*//p" "/proc/$(pid)/status"; }

systemd-analyze verify --man=no deepreduce.service || fail verify
systemctl start deepreduce.service || fail start
ready
systemctl --no-pager show --property User --property ExecMainPID --property ActiveState deepreduce.service
ask --prepare 6 >prepared.json || fail prepare
ask $plan/samples/*.png >answer.json || fail predict
same answer.json || fail answers

[ "$(field Seccomp)" = 2 ] && [ "$(field NoNewPrivs)" = 1 ] && [ "$(field CapEff)" = 0000000000000000 ] || fail rights
[ "$(field Uid | cut -f 1)" != 0 ] || fail root
grep -q '^Max core file size *0 *0 ' "/proc/$(pid)/limits" || fail core files
[ "$(stat -c %a /var/lib/private/deepreduce/store)" = 700 ] || fail the mode of the store
# The same restrictions in a process that tries what they deny; that it must fail shows that they are in force here.
denied() { systemd-run --quiet --pipe --wait --property DynamicUser=yes --property StateDirectory=deepreduce \
  --property ReadOnlyPaths=/var/lib/deepreduce/plan --property InaccessiblePaths=/etc/deepreduce \
  --property ProtectSystem=strict --property MemoryDenyWriteExecute=yes --property SystemCallFilter=@system-service \
  --property SystemCallErrorNumber=EPERM --property RestrictAddressFamilies='AF_INET AF_UNIX' \
  --unit "deepreduce-try-$1" python3 -c "$2" 2>&1 | tail -n 1; }
grep -hE '^(ReadOnlyPaths|InaccessiblePaths|ProtectSystem|MemoryDenyWriteExecute|RestrictAddressFamilies)=' \
  /etc/systemd/system/deepreduce.service
denied mmap 'import mmap; mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)' | tee -a denied
denied packet 'import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)' | tee -a denied
denied write 'open("/usr/file", "w")' | tee -a denied
denied secret 'open("/etc/deepreduce/tls.key")' | tee -a denied
[ "$(grep -cE 'PermissionError|Errno (1|13|30|97)\b' denied)" = 4 ] || fail what must be denied

first=$(pid)
systemctl kill --signal KILL deepreduce.service
for _ in $(seq 30); do [ "$(pid)" != 0 ] && [ "$(pid)" != "$first" ] && break; sleep 1; done
ready
ask $plan/samples/0.png $plan/samples/1.png $plan/samples/2.png $plan/samples/3.png >again.json || fail predict after a kill
same again.json || fail answers after a kill
echo "restarts: $(systemctl show --property NRestarts --value deepreduce.service)"
systemctl stop deepreduce.service
echo "stopped: $(systemctl show --property Result --value deepreduce.service), $(journalctl -q -u deepreduce.service | grep -c '"event": "stopped"') clean"
[ "$(systemctl show --property Result --value deepreduce.service)" = success ] || fail stop
systemd-analyze security --no-pager deepreduce.service | tail -n 1
echo "all as it should be"
