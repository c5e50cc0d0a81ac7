#!/bin/sh
# Installs the servers that tests run against, each in a Python environment of its own.
#
#   tests/lab/setup.sh [ministack] [moto]      (both if none is named)
#
# ministack speaks S3, SQS and CloudFormation and starts in half a second: the default for tests.
# moto enforces IAM policies and knows Auto Scaling; it is slow, so keep its queues short.
# In one environment pip would search for minutes for versions that suit both.
#
# Quick when they are there already. They go to target/lab, or to $BATCHPIPE_LAB; nothing else is touched.
# The programs: $LAB/ministack/bin/ministack and $LAB/moto/bin/moto_server.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
lab=${BATCHPIPE_LAB:-${here%/tests/lab}/target/lab}

install() { # NAME PROGRAM REQUIREMENT...
    name=$1 program=$2
    shift 2
    launcher=$here/$name.py
    wanted=$*
    [ ! -f "$launcher" ] || wanted="$wanted $(cksum <"$launcher")"
    if [ -x "$lab/$name/bin/$program" ] && [ "$(cat "$lab/$name/.installed" 2>/dev/null)" = "$wanted" ]; then
        return
    fi
    rm -rf "${lab:?}/$name"
    python3 -m venv "$lab/$name"
    "$lab/$name/bin/pip" install --quiet --disable-pip-version-check "$@" >&2
    if [ -f "$launcher" ]; then
        # As pip does it: a shell runs the second line, Python reads it as a text. A "#!" can't hold every path.
        {
            printf '#!/bin/sh\n'
            printf "'''exec' \"%s\" \"\$0\" \"\$@\"\n' '''\n" "$lab/$name/bin/python3"
            cat "$launcher"
        } >"$lab/$name/bin/$program"
    fi
    echo "$wanted" >"$lab/$name/.installed"
}

mkdir -p "$lab"
lab=$(CDPATH='' cd -- "$lab" && pwd)
# Two tests may ask at once: the second waits, and finds the work done.
if command -v flock >/dev/null; then
    exec 9>"$lab/.lock"
    flock 9
fi
[ $# -gt 0 ] || set -- ministack moto
for server; do
    case $server in
    ministack) install ministack ministack 'ministack==1.5.33' 'awscrt==0.38.0' ;;
    # Without the extra s3crc32c and awscrt moto computes CRC32 where CRC32C or CRC64NVME is asked for.
    moto) install moto moto_server 'moto[server,s3crc32c]==5.2.5' 'awscrt==0.38.0' ;;
    *)
        echo "setup.sh: no server called $server" >&2
        exit 2
        ;;
    esac
done
