#!/usr/bin/env bash
# Builds dist/, the npm package's modules.
set -euo pipefail
cd "$(dirname "$0")"

rm -rf dist
node node_modules/typescript/bin/tsc -p tsconfig.build.json
