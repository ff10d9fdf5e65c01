#!/usr/bin/env bash
# Builds dist/, the npm package's modules. Names of the core's internal
# properties are shortened there as in the bundles, by the list in embed.go:
# bundlers of applications leave such names as they are. Adapters, shared and
# diagnose know the core by its public names only, and keep their own. The
# core's first line is the hint that its bundles have.
set -euo pipefail
cd "$(dirname "$0")"

rm -rf dist
node node_modules/typescript/bin/tsc -p tsconfig.build.json
shorten() {
  node_modules/.bin/esbuild "$@" "--mangle-props=$(sed -n 's/.* --mangle-props=\([^ ]*\).*/\1/p' embed.go)" --mangle-cache=dist/names.json \
    "--banner:js=//# allFunctionsCalledOnLoad" --format=esm --target=es2022 --sourcemap --outbase=dist --log-level=warning
}
core=$(echo dist/{call,channel,index,later,life,load,metadata,status}.js dist/{link,session,wire}/*.js)

# One run finds a short name for each, for the modules one by one to agree on.
echo '{}' > dist/names.json
shorten $core --bundle --splitting --tree-shaking=false --outdir=dist/bundled
cp dist/names.json dist/bundled/
shorten $core --outdir=dist --allow-overwrite
cmp dist/names.json dist/bundled/names.json
rm -r dist/names.json dist/bundled
