#!/bin/sh
# deepreduce.service under a real systemd: Debian 12 with nothing but Python in a folder, the wheel of DIST installed into
# /opt/deepreduce there without a compiler, booted by systemd-nspawn. A client predicts, the server is killed and comes
# back, the client predicts with what it had prepared; what the unit denies is tried. Root; debootstrap, systemd-container.
#
#     packaging/try_service.sh DIST [ROOT]     ROOT: a folder to keep for the next time
set -eu
here=$(cd "$(dirname "$0")" && pwd)
dist=$(cd "$1" && pwd)
root=${2:-$(mktemp -d)}
finish() { [ -n "${keep-}" ] || rm -rf --one-file-system "$root"; }
[ $# -gt 1 ] && keep=yes
trap finish EXIT
trap 'exit 130' INT TERM

[ -e "$root/bin" ] || debootstrap --variant=minbase \
  --include=python3,python3-venv,systemd,systemd-sysv,dbus,openssl,ca-certificates bookworm "$root" >&2
inside() { systemd-nspawn --quiet --pipe --register=no --keep-unit --directory "$root" --resolv-conf=copy-host \
  --bind-ro "$dist:/dist" --bind-ro "$here:/packaging" --bind-ro /etc/ssl/certs/ca-certificates.crt \
  --setenv=PIP_CERT=/etc/ssl/certs/ca-certificates.crt "$@"; }
# shellcheck disable=SC2016  # expanded inside
inside sh -ec 'for tool in cc gcc clang make cmake ld; do
    if command -v "$tool"; then echo "a compiler is inside" >&2; exit 1; fi
  done
  rm -rf /opt/deepreduce && python3 -m venv /opt/deepreduce
  /opt/deepreduce/bin/pip download -q --no-index --no-deps --pre --find-links /dist -d /tmp/wheel deepreduce
  /opt/deepreduce/bin/pip install -q --only-binary :all: "$(echo /tmp/wheel/*)[client,server]"'

# As docs/operate/deploying.md says.
rm -rf "$root/etc/deepreduce" "$root/var/lib/deepreduce" "$root/var/lib/private/deepreduce" "$root/root/.local"
install -d -m 700 "$root/etc/deepreduce" "$root/var/lib/private"
install -d -m 700 "$root/var/lib/private/deepreduce"
install -m 644 "$here/deepreduce.service" "$root/etc/systemd/system/deepreduce.service"
install -m 600 "$here/deepreduce.env" "$root/etc/deepreduce/deepreduce.env"
inside sh -ec 'cd /etc/deepreduce; umask 077
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
    -addext subjectAltName=IP:127.0.0.1 -keyout tls.key -out tls.crt 2>/dev/null
  head -c 32 /dev/urandom >store.key
  head -c 24 /dev/urandom | base64 >token
  cd /packaging
  PYTHONDONTWRITEBYTECODE=1 /opt/deepreduce/bin/python -c "
import pathlib, try_wheel
folder = pathlib.Path(\"/var/lib/private/deepreduce/plan\")
folder.mkdir()
try_wheel.make_plan(folder)"'
cat >"$root/etc/systemd/system/try.service" <<'UNIT'
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/sh /packaging/try_service_inside.sh
StandardOutput=file:/try.log
StandardError=inherit
ExecStopPost=/bin/systemctl poweroff --force
UNIT
rm -f "$root/try.log"
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -sf ../try.service "$root/etc/systemd/system/multi-user.target.wants/try.service"
inside --boot >"$root/boot.log" 2>&1 </dev/null || true
cat "$root/try.log"
tail -n 1 "$root/try.log" | grep -qx 'all as it should be'
