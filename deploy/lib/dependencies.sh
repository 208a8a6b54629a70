# shellcheck shell=bash
# Installs what dependencies.txt lists. Source it and call: install_dependencies GROUP...
# Asks no archive when everything is there, so that a second run works without a network.

DEPENDENCIES_FILE=$(dirname "${BASH_SOURCE[0]}")/dependencies.txt

packages_of() {  # GROUP...
  local group
  for group; do awk -v g="$group" '$1 == g {print $2}' "$DEPENDENCIES_FILE"; done
}

missing_packages() {  # GROUP...
  local installed package
  installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' 2>/dev/null | awk '$1 == "installed" {print $2}')
  for package in $(packages_of "$@"); do
    grep -qxF "$package" <<<"$installed" || echo "$package"
  done
}

# Debian starts a daemon when its package is installed. Here nobody asked for a system-wide containerd or registry.
without_starting_daemons() {
  local policy=/usr/sbin/policy-rc.d status=0
  if [ -e "$policy" ]; then "$@"; return; fi
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 0755 "$policy"
  "$@" || status=$?
  rm -f "$policy"
  return $status
}

install_dependencies() {  # GROUP...
  local missing
  missing=$(missing_packages "$@")
  [ -n "$missing" ] || return 0
  [ "$(id -u)" = 0 ] || { echo "these packages are missing, and only root can install them: ${missing//$'\n'/ }" >&2; return 1; }
  echo "installing: ${missing//$'\n'/ }"
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq update
  # shellcheck disable=SC2086 # one word a package
  without_starting_daemons apt-get -qq -y install --no-install-recommends $missing >/dev/null
}
