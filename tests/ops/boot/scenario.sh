#!/bin/bash
# Runs inside the container, as the first thing after boot: ops/user-data.sh for real, then the life of
# a machine. One line a check goes to /test/result. Everything waits for a condition, up to a limit.
exec 2>>/scenario.log
set -u
LIB=/var/lib/batchpipe
QUEUE=sqlite:$LIB/jobs.db
DRAIN=8

result() { echo "$*" >>/test/result; }
check() { # SENTENCE COMMAND…
  local sentence=$1
  shift
  if "$@" >>/scenario.log; then
    result "ok     boot: $sentence"
  else
    result "FAIL   boot: $sentence: $* did not hold; worker: $(journalctl -u batchpipe -o cat --no-pager -n 3 | tr '\n' '|')"
  fi
}
within() { # SECONDS COMMAND…: until it succeeds
  local deadline=$(($(date +%s) + $1))
  shift
  until "$@"; do
    [[ $(date +%s) -lt $deadline ]] || return 1
    sleep 0.2
  done
}
not() { ! "$@"; }
property() { systemctl show -p "$2" --value "$1"; }
is() { [[ "$(property "$1" "$2")" == "$3" ]]; }
active() { systemctl is-active -q "$1"; }
called() { grep -qs -- "$1" /calls; }
outputs() { [[ $(find $LIB/out -name "$1" -type f 2>/dev/null | wc -l) == "$2" ]]; }
as_worker() { runuser -u batchpipe -- env -i PATH=/usr/local/bin:/usr/bin:/bin HOME=$LIB "$@"; }
submit() { # NAME SECONDS…: a job NAME-n for each number, that takes so many seconds
  local name=$1 n=0 seconds
  shift
  rm -rf $LIB/new
  as_worker mkdir -p $LIB/new $LIB/in $LIB/out
  for seconds in "$@"; do
    echo "$seconds" >"$LIB/new/$name-$n"
    n=$((n + 1))
  done
  as_worker batchpipe submit $LIB/new --input file://$LIB/in/ --output file://$LIB/out/ --queue $QUEUE --journal none >>/scenario.log
}
holds() { # VISIBLE IN_FLIGHT: what the queue holds
  as_worker batchpipe status --queue $QUEUE --json | tee -a /scenario.log | python3 -c '
import json, sys
messages = json.loads(sys.stdin.readlines()[-1])["messages"]
sys.exit([messages[name] for name in ("visible", "in_flight")] != [int(text) for text in sys.argv[1:]])' "$@"
}
programs() { pgrep -fc '^/bin/bash /usr/local/bin/slow-job'; }
none_runs() { [[ $(programs) == 0 ]]; }
running() { [[ $(programs) -ge $1 ]]; }
fresh() { # a machine that was never told to go
  rm -rf /calls /run/batchpipe-draining /imds/spot
  echo -n InService >/imds/autoscaling/target-lifecycle-state
  systemctl restart batchpipe-watch.service
  systemctl start batchpipe.service
}

# --- the machine around it: metadata, a job's program, the image's own things ---
ip link set lo up
ip address add 169.254.169.254/32 dev lo
mkdir -p /imds/autoscaling /imds/events/recommendations
echo -n i-0123456789abcdef0 >/imds/instance-id
echo -n InService >/imds/autoscaling/target-lifecycle-state
python3 /test/fake_imds.py /imds 169.254.169.254 80 &
within 10 curl -s -o /dev/null http://169.254.169.254/
unsigned() { [[ $(curl -s -o /dev/null -w '%{http_code}' http://169.254.169.254/latest/meta-data/instance-id) == 401 ]]; }
check "the metadata service refuses a request without a token" unsigned
cat >/usr/local/bin/slow-job <<'JOB'
#!/bin/bash
read -r seconds
sleep "$seconds"
echo "took $seconds"
JOB
chmod 0755 /usr/local/bin/slow-job

# --- the user data, as the template makes it: settings, then the file ---
{
  echo '#!/bin/bash'
  cat <<SETTINGS
BATCHPIPE_REGION='eu-west-1'
BATCHPIPE_GROUP='batchpipe-workers'
BATCHPIPE_QUEUE='$QUEUE'
BATCHPIPE_OUTPUT='file://$LIB/out/'
BATCHPIPE_BINARY='s3://bp-bucket/release/batchpipe'
BATCHPIPE_BINARY_SHA256='$(sha256sum /test/batchpipe | cut -d' ' -f1)'
BATCHPIPE_PROCESS='zstd'
BATCHPIPE_PROGRAM='/usr/local/bin/slow-job'
BATCHPIPE_PACKAGES=''
BATCHPIPE_SETTINGS='BATCHPIPE_ALLOW=file://$LIB/ BATCHPIPE_VISIBILITY_TIMEOUT=5s BATCHPIPE_WAIT_TIME=1s'
BATCHPIPE_DRAIN_SECONDS='$DRAIN'
BATCHPIPE_IDLE_SECONDS='0'
BATCHPIPE_METRICS_CIDR='10.0.0.0/8'
SETTINGS
  cat /test/user-data.sh
} >/user-data
check "user data ends well" bash /user-data
check "the program came from the bucket by its pinned checksum" called "aws s3 cp --only-show-errors --region eu-west-1 s3://bp-bucket/release/batchpipe"
both_run() { active batchpipe && active batchpipe-watch; }
check "worker and watcher run" within 10 both_run
both_enabled() { systemctl is-enabled -q batchpipe && systemctl is-enabled -q batchpipe-watch; }
check "both start again at the next boot" both_enabled
worker() { property batchpipe MainPID; }
owner_is() { [[ $(stat -c %U "/proc/$(worker)") == "$1" ]]; }
check "the worker is not root" owner_is batchpipe
# The property, not the process's own limit: a sandbox may have a lower one.
check "it may open a million files" is batchpipe LimitNOFILE 1048576
check "a program that eats all memory dies alone" is batchpipe OOMPolicy continue
cannot_write() { not nsenter --target "$(worker)" --mount -- touch "$1"; }
check "it cannot write to the system" cannot_write /etc/batchpipe/x
check "and can to its own directory" nsenter --target "$(worker)" --mount -- touch $LIB/work/x
metrics() { curl -sf http://127.0.0.1:9464/metrics | tee /metrics >/dev/null && grep -q '^batchpipe_' /metrics; }
check "metrics are served for the scraper" within 10 metrics
listens() { ss -ltn | grep -q '0.0.0.0:9464'; }
check "on every address, because a range was given" listens

# --- work ---
submit batch 0 0 0 0 0 0 0 0 0 0 0 0
check "a batch is worked off" within 20 outputs 'batch-*' 12
check "and its messages are gone" within 10 holds 0 0

# --- a crash ---
submit crash 2
within 10 running 1
old=$(worker)
kill -9 "$old"
another_runs() { active batchpipe && [[ $(worker) != "$old" ]]; }
check "after kill -9 the worker is started again" within 15 another_runs
check "and the job it held is done by the new one" within 30 outputs 'crash-*' 1

# --- notes that are no orders ---
echo '{"noticeTime":"2026-01-01T00:00:00Z"}' >/imds/events/recommendations/rebalance
noted() { journalctl -u batchpipe-watch -o cat --no-pager | grep -q '^noted: rebalance'; }
check "a rebalance recommendation is noted" within 12 noted
check "and stops nothing" active batchpipe

# --- a Spot notice in the middle of jobs: one fits into the drain, one does not ---
submit drain 5 60
within 10 running 2
rm -f /calls
mkdir -p /imds/spot
echo '{"action":"terminate","time":"2026-01-01T00:02:00Z"}' >/imds/spot/instance-action
before=$(date +%s)
check "a Spot notice is seen and the lifecycle action completed" within 40 called complete-lifecycle-action
took=$(($(date +%s) - before))
check "within the poll, the drain and the unit's time-out (${took} s)" test "$took" -le $((5 + DRAIN + 10))
check "the short job was finished in the drain, its program not killed" outputs 'drain-0*' 1
check "the long job was not published" outputs 'drain-1*' 0
check "and was given back at once" holds 1 0
ended_first() { # by the second: the drain takes five
  local ended called
  ended=$(date -d "$(property batchpipe InactiveEnterTimestamp)" +%s)
  called=$(grep complete-lifecycle-action /calls | cut -d. -f1)
  [[ $ended -le $called && $((ended - before)) -ge 4 ]]
}
check "the hook was completed after the drain, not before" ended_first
check "for this machine, group and hook" called "--auto-scaling-group-name batchpipe-workers --lifecycle-hook-name batchpipe-drain --lifecycle-action-result CONTINUE --instance-id i-0123456789abcdef0"
check "that is a success for systemd" is batchpipe Result success
check "no program of a job is left" within 5 none_runs
sleep 6 # RestartSec and a bit
check "the worker stays down" not active batchpipe

# --- a drain that does not end is cut ---
rm -f $LIB/jobs.db*
fresh
within 10 active batchpipe
mkdir -p /run/systemd/system/batchpipe.service.d
printf '[Service]\nTimeoutStopSec=3\n' >/run/systemd/system/batchpipe.service.d/test.conf
systemctl daemon-reload
submit hang 60 # with a drain of 8 s
within 10 running 1
echo -n Terminated >/imds/autoscaling/target-lifecycle-state
check "a termination by the group is seen, and a drain longer than the unit allows is cut" within 30 called complete-lifecycle-action
check "by the unit's time-out" is batchpipe Result timeout
check "and takes the programs of its jobs along" within 5 none_runs
rm -rf /run/systemd/system/batchpipe.service.d
systemctl daemon-reload

# --- nothing to do ---
rm -f $LIB/jobs.db*
echo BATCHPIPE_IDLE_EXIT=2s >>/etc/batchpipe/worker.env
systemctl reset-failed batchpipe.service
touch /aws-fails
fresh
check "an idle worker asks to leave the group" within 30 called "terminate-instance-in-auto-scaling-group --region eu-west-1 --instance-id i-0123456789abcdef0 --should-decrement-desired-capacity"
check "and works on where the group says no" within 15 active batchpipe
rm -f /aws-fails /calls
left_well() { is batchpipe ExecMainStatus 10 && is batchpipe Result success; }
within 30 called terminate-instance-in-auto-scaling-group
check "where it may leave, it ends with code 10 and success" within 10 left_well
sleep 6
check "and is not started again" not active batchpipe
check "the watcher still waits for the termination that follows" active batchpipe-watch
result "end of the scenario"
