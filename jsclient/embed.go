// Package jsclient holds the browser client as the bridge serves it: the
// bundles that esbuild makes of the TypeScript beside this file. The npm
// package pollbridge is the same code, unbundled.
package jsclient

import _ "embed"

//go:generate go tool -modfile=../tools/go.mod esbuild src/index.ts --bundle --minify --log-level=warning --target=es2022 --format=esm --outfile=bundle/client.js
//go:generate go tool -modfile=../tools/go.mod esbuild src/index.ts --bundle --minify --log-level=warning --target=es2022 --format=iife --global-name=pollbridge --outfile=bundle/client.global.js

// Module is the client as an ES module.
//
//go:embed bundle/client.js
var Module []byte

// Global is the client as a classic script that defines window.pollbridge.
//
//go:embed bundle/client.global.js
var Global []byte
