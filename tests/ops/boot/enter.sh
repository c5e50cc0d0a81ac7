#!/bin/bash
# Boots this machine's own files in a container: an overlay over / whose changes are thrown away, its own
# network with loopback only, systemd as the first process. Usage: enter.sh FOLDER, which is /test inside
# and holds batchpipe, user-data.sh, aws, fake_imds.py and scenario.sh; the results are written there.
set -eu
folder=$1
[[ ${2:-} == inside ]] || exec unshare --mount -- bash "$0" "$folder" inside

base="$folder/machine"
mkdir "$base"
mount -t tmpfs -o size=2g none "$base"
mkdir "$base"/{upper,work,root}
mount -t overlay overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" "$base/root"
root="$base/root"
mkdir -p "$root/test"
# A machine image, not this machine: none of its services, no trace of its journal, no aws of its own.
rm -rf "$root"/etc/systemd/system/*.wants "$root/var/log/journal" "$root/etc/batchpipe"
: >"$root/etc/machine-id"
find -L "$root"/lib/systemd/system "$root"/etc/systemd/system -maxdepth 1 -name "*.service" -printf "%f\n" 2>/dev/null |
  grep -E "^(prometheus|alertmanager|docker|containerd|ssh|cloud|systemd-(networkd|resolved|timesyncd)|postgresql|mysql|redis|nginx|apache2|cron|exim|unattended)" |
  while read -r unit; do ln -sf /dev/null "$root/etc/systemd/system/$unit"; done
ln -sf /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
install -m 0755 "$folder/aws" "$root/usr/local/bin/aws"
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
cat >"$root/etc/systemd/system/scenario.service" <<UNIT
[Unit]
Description=the checks
After=basic.target
[Service]
Type=oneshot
TimeoutStartSec=200
ExecStart=/bin/bash /test/scenario.sh
ExecStopPost=/bin/bash -c "cp /scenario.log /calls /metrics /test/ 2>/dev/null; journalctl --no-pager >/test/journal; systemctl --no-block poweroff"
UNIT
ln -sf ../scenario.service "$root/etc/systemd/system/multi-user.target.wants/"
# The network is the container's own, but fs, kernel and vm settings are the whole machine's.
timeout --kill-after=10 240 systemd-nspawn --quiet --directory="$root" --boot --private-network --register=no --keep-unit \
  --console=pipe --bind="$folder:/test:norbind" --bind-ro=/proc/sys/fs --bind-ro=/proc/sys/kernel --bind-ro=/proc/sys/vm </dev/null >"$folder/nspawn.log" 2>&1 || true
