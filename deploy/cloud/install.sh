#!/bin/bash
# Makes a fresh Debian or Ubuntu machine a Casement gateway: fetches the package, checks it, installs it, and lets
# `casement init` do the rest. Runs as root, by cloud-init or as a start-up script; run again, it does nothing.
#
# What it needs is in /etc/casement-install.env, which cloud-init or Terraform writes:
#   CASEMENT_NAME      the gateway's DNS name; empty for the machine's public addresses
#   CASEMENT_CONTACT   whom the certificate authority may write to; may be empty
#   PACKAGE_URL        where casement_VERSION_ARCH.deb is to be had
#   PACKAGE_SHA256     what it must be
#   PACKAGE_TOKEN      "google" when the URL wants the machine's own Google token; else empty
#
# The link for the first administrator is a secret: it does not go into the log of the start, which a cloud shows to
# others. `sudo casement claim` prints a new one.
set -euo pipefail

env_file=${CASEMENT_INSTALL_ENV:-/etc/casement-install.env}
done_file=${CASEMENT_INSTALL_DONE:-/var/lib/casement-install.done}
log_file=${CASEMENT_INSTALL_LOG:-/root/casement-init.txt}
tries=${CASEMENT_INSTALL_TRIES:-6}

[ ! -e "$done_file" ] || exit 0
# cloud-init and a start-up script may both have been told to run it.
exec 9>"$done_file.lock"
flock 9
[ ! -e "$done_file" ] || exit 0

# shellcheck source=/dev/null
. "$env_file"
: "${PACKAGE_URL:?$env_file must say where the package is}" "${PACKAGE_SHA256:?$env_file must say what the package must be}"

say() { echo "casement: $*"; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
package=$folder/casement.deb

fetch() {
  local header=()
  if [ "${PACKAGE_TOKEN:-}" = google ]; then
    local token
    token=$(curl --silent --show-error --fail --max-time 10 -H 'Metadata-Flavor: Google' \
      http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token |
      sed -n 's/.*"access_token" *: *"\([^"]*\)".*/\1/p')
    # Through a file: what stands in a command line everybody on the machine can read.
    printf 'Authorization: Bearer %s\n' "$token" >"$folder/header"
    header=(-H "@$folder/header")
  fi
  curl --silent --show-error --fail --location --max-time 300 --max-filesize 100000000 "${header[@]}" -o "$package" "$PACKAGE_URL"
}

# A network may need a moment after the start.
for ((attempt = 1; ; attempt++)); do
  if fetch; then break; fi
  [ "$attempt" -lt "$tries" ] || { say "the package could not be fetched from $PACKAGE_URL; mend PACKAGE_URL in $env_file and run $0 again"; exit 1; }
  say "no package yet, trying again in 10 s"
  sleep 10
done

if ! echo "$PACKAGE_SHA256  $package" | sha256sum --check --status; then
  say "the package is not the one that was meant: it has SHA-256 $(sha256sum "$package" | cut -d' ' -f1), and $env_file says $PACKAGE_SHA256"
  exit 1
fi

chmod 0755 "$folder"
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -yq --no-install-recommends "$package"

arguments=(--yes)
[ -z "${CASEMENT_CONTACT:-}" ] || arguments+=(--contact "$CASEMENT_CONTACT")
[ -z "${CASEMENT_NAME:-}" ] || arguments+=("$CASEMENT_NAME")
(umask 077; : >"$log_file")
if casement init "${arguments[@]}" >>"$log_file" 2>&1; then
  say "the gateway runs; sudo casement claim gives the link for its first administrator"
else
  # It is installed and goes on trying; a certificate may only wait for DNS.
  say "the gateway is installed, but not all is well yet: sudo cat $log_file; sudo casement doctor"
fi
touch "$done_file"
