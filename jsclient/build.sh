#!/usr/bin/env bash
# Builds what the npm package has beside README.md and bundle/: its modules,
# dist/, and copies of what the repository has once for all.
set -euo pipefail
cd "$(dirname "$0")"

rm -rf dist
node node_modules/typescript/bin/tsc -p tsconfig.build.json

cp ../LICENSE .
sed -E 's|\]\(([^):#]+[)#])|](https://github.com/pollbridge/pollbridge/blob/main/\1|g' ../CHANGELOG.md >CHANGELOG.md
