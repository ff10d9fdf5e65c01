# machine.sh makes sure that the machine has what a part of test.sh needs:
# installs what is missing, and says so. Sourced, after steps.sh.

NODE_MIN=20

# need COMMAND PACKAGE makes sure that COMMAND exists, installing Debian's
# PACKAGE when root there. It fails when the command is still missing.
need() {
  command -v "$1" >/dev/null && return
  install_package "$2" "$1"
  command -v "$1" >/dev/null
}

# install_package PACKAGE FOR installs a Debian package, or does nothing if it cannot.
install_package() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 0
  printf 'installing Debian package %s, for %s\n' "$1" "$2"
  apt_install "$1" >"$logs/apt" 2>&1 || tail -n 5 "$logs/apt"
}

# apt_install installs without recommendations and without starting services. A
# machine whose lists of packages are empty or old gets new ones.
apt_install() {
  local policy=/usr/sbin/policy-rc.d mine=
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    mine=yes
  fi
  export DEBIAN_FRONTEND=noninteractive
  local ok=0
  apt-get install -y --no-install-recommends "$@" ||
    { apt-get update && apt-get install -y --no-install-recommends "$@"; } || ok=1
  [ -z "$mine" ] || rm -f "$policy"
  return $ok
}

# need_protoc makes sure of protoc with the .proto files that come with it,
# which Debian packs apart.
need_protoc() {
  need protoc protobuf-compiler || return 1
  protoc_imports && return
  install_package libprotobuf-dev protoc
  protoc_imports
}

protoc_imports() { protoc -o /dev/null google/protobuf/any.proto 2>/dev/null; }

# need_cc makes sure of a C compiler with the headers of C, which Debian packs
# apart. Without them cgo, which go uses where there is gcc, fails.
need_cc() {
  need gcc gcc || return 1
  c_headers && return
  install_package libc6-dev gcc
  c_headers
}

c_headers() { gcc -E -x c -include stdlib.h /dev/null >/dev/null 2>&1; }

need_node() {
  need node nodejs && need npm npm &&
    [ "$(node -p 'process.versions.node.split(".")[0]')" -ge "$NODE_MIN" ]
}

no_node="no Node $NODE_MIN or later with npm, and not root on Debian to install it"

need_chromium() { need chromium chromium; }

need_firefox() { command -v firefox >/dev/null || need firefox-esr firefox-esr; }

# npm_packages FOLDER... installs folders' packages where the lock file has changed.
npm_packages() {
  local folder
  for folder; do
    cmp -s "$folder/package-lock.json" "$folder/node_modules/.stamp" ||
      step "npm packages of $folder" 60 npm_ci "$folder"
  done
}

npm_ci() {
  cd "$1"
  npm ci --no-audit --no-fund
  cp package-lock.json node_modules/.stamp
}
