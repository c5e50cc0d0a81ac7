#!/bin/bash
# Installs what the ops checks need into $BATCHPIPE_LAB, each in one pinned version, and nothing when it
# is there already. Debian packages need root; without it the checks that want them are skipped.
set -uo pipefail
: "${BATCHPIPE_LAB:?}"
export DEBIAN_FRONTEND=noninteractive PIP_DISABLE_PIP_VERSION_CHECK=1
mkdir -p "$BATCHPIPE_LAB"
cd "$BATCHPIPE_LAB" || exit 1

say() { echo "lab: $*" >&2; }

python_environment() { # NAME PACKAGE…: a venv of that name with these packages
  local name=$1 mark
  shift
  mark="$name/.holds-$(printf '%s\n' "$@" | sha256sum | cut -c1-16)"
  [[ -e $mark ]] && return 0
  say "installing $*"
  python3 -m venv "$name" && "$name/bin/pip" install --quiet "$@" && touch "$mark"
}

debian_packages() {
  local missing=()
  command -v shellcheck >/dev/null || missing+=(shellcheck)
  command -v systemd-nspawn >/dev/null || missing+=(systemd-container)
  command -v curl >/dev/null || missing+=(curl)
  [[ ${#missing[@]} -gt 0 || ! -e prometheus/usr/bin/promtool ]] || return 0
  if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
    say "no root or no apt-get: without ${missing[*]} prometheus"
    return 0
  fi
  say "installing ${missing[*]} prometheus"
  apt-get -qq -o DPkg::Lock::Timeout=120 update
  [[ ${#missing[@]} == 0 ]] ||
    apt-get -qq -o DPkg::Lock::Timeout=120 install -y --no-install-recommends "${missing[@]}" >/dev/null
  # Unpacked, not installed: only its tools are wanted, not a server that starts by itself.
  if [[ ! -e prometheus/usr/bin/promtool ]]; then
    local folder
    folder="$(mktemp -d)"
    chmod 755 "$folder"
    (cd "$folder" && apt-get -qq -o APT::Sandbox::User=root download prometheus) && dpkg-deb -x "$folder"/prometheus_*.deb prometheus
    rm -rf "$folder"
  fi
}

node_packages() {
  command -v npm >/dev/null || { say "no npm: without iam-simulate"; return 0; }
  [[ -e npm/node_modules/@cloud-copilot/iam-simulate ]] && return 0
  say "installing @cloud-copilot/iam-simulate"
  mkdir -p npm
  echo '{"private":true}' >npm/package.json
  npm install --prefix npm --no-audit --no-fund --silent @cloud-copilot/iam-simulate@0.1.173
}

python_environment venv 'moto[server]==5.2.5' boto3==1.44.5 cfn-lint==1.58.0 PyYAML==6.0.3 kubernetes-validate==1.37.0 || exit 1
# In an environment of its own: its dependencies and boto3's make pip search for minutes.
python_environment venv-ministack ministack==1.5.33 || exit 1
debian_packages || say "some Debian packages are missing"
node_packages || say "npm failed"
exit 0
