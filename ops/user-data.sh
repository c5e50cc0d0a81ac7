#!/bin/bash
# Makes a fresh Amazon Linux 2023 machine a batchpipe worker. Runs once, as root, from cloud-init.
#
# The launch template puts BATCHPIPE_* assignments in front of this text (ops/stack.yaml); they are
# the only input. It installs one program whose checksum is pinned, and two units: the worker, and a
# watcher that drains the worker when the machine is about to go. Nothing here is particular to one
# fleet, so that the same file is what the tests boot.
set -Eeuo pipefail
umask 022
trap 'echo "batchpipe: bootstrap failed at line $LINENO" >&2; exit 1' ERR

# --- settings: a required one has no default, and stops the script when it is missing ---
: "${BATCHPIPE_REGION:?}" "${BATCHPIPE_GROUP:?}" "${BATCHPIPE_QUEUE:?}" "${BATCHPIPE_OUTPUT:?}"
: "${BATCHPIPE_BINARY:?}" "${BATCHPIPE_BINARY_SHA256:?}"
: "${BATCHPIPE_PROCESS:=}"         # codec steps, or
: "${BATCHPIPE_PROGRAM:=}"         # a program and its arguments, split at blanks; one of the two
: "${BATCHPIPE_PACKAGES:=}"        # packages the program needs
: "${BATCHPIPE_SETTINGS:=}"        # more NAME=value pairs for the worker, split at blanks
: "${BATCHPIPE_DRAIN_SECONDS:=100}" # below the 120 s of a Spot notice
: "${BATCHPIPE_IDLE_SECONDS:=0}"   # 0: the worker never leaves by itself
: "${BATCHPIPE_METRICS_CIDR:=}"    # who may scrape; nobody but the machine itself when empty
: "${BATCHPIPE_HOOK:=batchpipe-drain}"
# A worker that is not told what to do with an object does not start, and would be restarted for ever.
if [[ -z $BATCHPIPE_PROCESS$BATCHPIPE_PROGRAM && " $BATCHPIPE_SETTINGS" != *" BATCHPIPE_PROCESS="* ]]; then
  echo "batchpipe: set BATCHPIPE_PROCESS or BATCHPIPE_PROGRAM: what is to be done with each object?" >&2
  exit 1
fi

# --- user, program ---
[[ -z $BATCHPIPE_PACKAGES ]] || xargs dnf install --assumeyes --quiet <<<"$BATCHPIPE_PACKAGES"
id -u batchpipe >/dev/null 2>&1 ||
  useradd --system --home-dir /var/lib/batchpipe --shell /sbin/nologin batchpipe
install -d -m 0755 /usr/local/bin /etc/batchpipe
fetched="$(mktemp)"
aws s3 cp --only-show-errors --region "$BATCHPIPE_REGION" "$BATCHPIPE_BINARY" "$fetched"
echo "$BATCHPIPE_BINARY_SHA256  $fetched" | sha256sum --check --status
install -m 0755 "$fetched" /usr/local/bin/batchpipe
rm -f "$fetched"
/usr/local/bin/batchpipe --version # fails here, not in a restart loop, when it is for another kind of CPU

# --- work directory: the first instance-store disk where the machine has one, else the root disk ---
install -d -m 0700 -o batchpipe -g batchpipe /var/lib/batchpipe /var/lib/batchpipe/work
disk="$(find -L /dev/disk/by-id -name 'nvme-Amazon_EC2_NVMe_Instance_Storage_*' -type b 2>/dev/null | sort | head -n 1 || true)"
if [[ -n $disk ]]; then
  blkid "$disk" >/dev/null || mkfs.xfs -q "$disk"
  echo "$disk /var/lib/batchpipe/work xfs noatime,nofail 0 2" >>/etc/fstab
  mount /var/lib/batchpipe/work
  chown batchpipe:batchpipe /var/lib/batchpipe/work
  chmod 0700 /var/lib/batchpipe/work
fi

# --- kernel: many connections, wide windows for long distances ---
cat >/etc/sysctl.d/60-batchpipe.conf <<'SYSCTL'
net.core.rmem_max = 16777216
net.core.wmem_max = 16777216
net.ipv4.tcp_rmem = 4096 131072 16777216
net.ipv4.tcp_wmem = 4096 65536 16777216
net.ipv4.ip_local_port_range = 10240 65535
net.ipv4.tcp_slow_start_after_idle = 0
SYSCTL
sysctl --quiet --load=/etc/sysctl.d/60-batchpipe.conf || echo "batchpipe: some sysctl values were refused" >&2

# --- environment: worker.env mirrors the program's flags, watch.env is the watcher's ---
{
  echo "AWS_REGION=$BATCHPIPE_REGION"
  [[ -z ${AWS_EC2_METADATA_SERVICE_ENDPOINT:-} ]] ||
    echo "AWS_EC2_METADATA_SERVICE_ENDPOINT=$AWS_EC2_METADATA_SERVICE_ENDPOINT"
} >/etc/batchpipe/watch.env
{
  cat /etc/batchpipe/watch.env
  echo "BATCHPIPE_QUEUE=$BATCHPIPE_QUEUE"
  echo "BATCHPIPE_OUTPUT=$BATCHPIPE_OUTPUT"
  echo "BATCHPIPE_WORK_DIR=/var/lib/batchpipe/work"
  echo "BATCHPIPE_DRAIN_TIMEOUT=${BATCHPIPE_DRAIN_SECONDS}s"
  [[ -z $BATCHPIPE_PROCESS || -n $BATCHPIPE_PROGRAM ]] || echo "BATCHPIPE_PROCESS=$BATCHPIPE_PROCESS"
  [[ -z $BATCHPIPE_PROGRAM ]] || echo "WORKER_PROGRAM=$BATCHPIPE_PROGRAM"
  [[ $BATCHPIPE_IDLE_SECONDS == 0 ]] || echo "BATCHPIPE_IDLE_EXIT=${BATCHPIPE_IDLE_SECONDS}s"
  if [[ -n $BATCHPIPE_METRICS_CIDR ]]; then
    echo "BATCHPIPE_METRICS_ADDR=0.0.0.0:9464"
    echo "BATCHPIPE_METRICS_ALLOW=true" # the security group lets only that range in
  fi
  for pair in $BATCHPIPE_SETTINGS; do echo "$pair"; done
} >/etc/batchpipe/worker.env
{
  echo "BATCHPIPE_GROUP=$BATCHPIPE_GROUP"
  echo "BATCHPIPE_HOOK=$BATCHPIPE_HOOK"
} >>/etc/batchpipe/watch.env
chmod 0644 /etc/batchpipe/worker.env /etc/batchpipe/watch.env # no secrets: the role gives those
program="${BATCHPIPE_PROGRAM:+ -- \$WORKER_PROGRAM}"

# --- worker ---
cat >/etc/systemd/system/batchpipe.service <<UNIT
[Unit]
Description=batchpipe worker
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=300
StartLimitBurst=10

[Service]
Type=exec
User=batchpipe
Group=batchpipe
EnvironmentFile=/etc/batchpipe/worker.env
WorkingDirectory=/var/lib/batchpipe/work
ExecStart=/usr/local/bin/batchpipe run$program
Restart=on-failure
RestartSec=5
# 5: the drain ran out of time and the rest was given back. 10: no job for the idle time; the
# machine then leaves its group. Neither is a failure.
SuccessExitStatus=5 10
RestartPreventExitStatus=10
ExecStopPost=+/usr/local/bin/batchpipe-leave
# SIGTERM goes to batchpipe alone: it stops receiving, finishes what is in flight with the programs
# it started, gives the rest back and exits. Past the limit everything is killed.
KillMode=mixed
KillSignal=SIGTERM
TimeoutStopSec=$((BATCHPIPE_DRAIN_SECONDS + 10))
# Limits: a socket or file for every job and part; a program that eats all memory dies alone.
LimitNOFILE=1048576
LimitCORE=0
TasksMax=infinity
MemoryMax=90%
OOMPolicy=continue
# It reads the network and writes its own directory. Nothing else is its business.
NoNewPrivileges=yes
CapabilityBoundingSet=
ReadWritePaths=/var/lib/batchpipe
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
UMask=0077
SyslogIdentifier=batchpipe

[Install]
WantedBy=multi-user.target
UNIT

# --- leaving: after exit code 10 the machine ends itself and takes its place in the group along ---
cat >/usr/local/bin/batchpipe-leave <<'LEAVE'
#!/bin/bash
set -uo pipefail
[[ ${EXIT_STATUS:-} == 10 && ! -e /run/batchpipe-draining ]] || exit 0
imds="${AWS_EC2_METADATA_SERVICE_ENDPOINT:-http://169.254.169.254}"
token="$(curl -sf --max-time 2 -X PUT "$imds/latest/api/token" -H 'X-aws-ec2-metadata-token-ttl-seconds: 60')"
id="$(curl -sf --max-time 2 -H "X-aws-ec2-metadata-token: $token" "$imds/latest/meta-data/instance-id")"
aws autoscaling terminate-instance-in-auto-scaling-group --region "$AWS_REGION" \
  --instance-id "$id" --should-decrement-desired-capacity && exit 0
# The group is at its least size, or the call failed: go on working.
[[ -e /run/batchpipe-draining ]] || systemctl --no-block start batchpipe.service
LEAVE
chmod 0755 /usr/local/bin/batchpipe-leave

# --- watcher: a Spot notice or a termination by Auto Scaling drains the worker ---
cat >/usr/local/bin/batchpipe-watch <<'WATCH'
#!/bin/bash
set -uo pipefail
imds="${AWS_EC2_METADATA_SERVICE_ENDPOINT:-http://169.254.169.254}"

new_token() {
  curl -sf --max-time 2 -X PUT "$imds/latest/api/token" -H 'X-aws-ec2-metadata-token-ttl-seconds: 60'
}
get() { # prints the body on 200; fails on 404 (nothing announced) and on anything else
  curl -sf --max-time 2 -H "X-aws-ec2-metadata-token: $token" "$imds/latest/meta-data/$1"
}

# A rebalance recommendation is only noted: with capacity rebalancing the group starts a replacement
# first and then ends this machine, and that shows as its target lifecycle state.
noted="" why=""
while [[ -z $why ]]; do
  if token="$(new_token)"; then
    if get spot/instance-action >/dev/null; then
      why=spot-interruption
    elif [[ "$(get autoscaling/target-lifecycle-state)" == Terminated ]]; then
      why=autoscaling-termination
    elif [[ -z $noted ]] && get events/recommendations/rebalance >/dev/null; then
      noted=yes
      echo "noted: rebalance recommendation"
    fi
  fi
  [[ -n $why ]] || sleep 5 # as often as EC2's guide says to look for a Spot notice
done

echo "draining: $why"
touch /run/batchpipe-draining
systemctl stop batchpipe.service # returns when the drain is over, at the latest after TimeoutStopSec
echo "drained"
for pause in 2 4 6 8 10; do
  if token="$(new_token)" && id="$(get instance-id)" &&
    aws autoscaling complete-lifecycle-action --region "$AWS_REGION" \
      --auto-scaling-group-name "$BATCHPIPE_GROUP" --lifecycle-hook-name "$BATCHPIPE_HOOK" \
      --lifecycle-action-result CONTINUE --instance-id "$id"; then
    echo "lifecycle action completed"
    exit 0
  fi
  sleep "$pause"
done
echo "could not complete the lifecycle action; the hook's own time-out will end it" >&2
WATCH
chmod 0755 /usr/local/bin/batchpipe-watch

cat >/etc/systemd/system/batchpipe-watch.service <<'UNIT'
[Unit]
Description=batchpipe drain on a Spot notice or a termination by Auto Scaling
Wants=network-online.target
After=network-online.target

[Service]
Type=exec
EnvironmentFile=/etc/batchpipe/watch.env
ExecStart=/usr/local/bin/batchpipe-watch
Restart=on-failure
RestartSec=5
SyslogIdentifier=batchpipe-watch

[Install]
WantedBy=multi-user.target
UNIT

systemctl daemon-reload
systemctl enable --now batchpipe-watch.service batchpipe.service
