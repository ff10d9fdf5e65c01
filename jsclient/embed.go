// Package jsclient holds the browser client as the bridge serves it: the
// bundles that esbuild makes of the TypeScript beside this file. The npm
// package pollbridge is the same code, unbundled.
package jsclient

import _ "embed"

// Browsers that know the hint in the first line (Chrome from 136 on) compile the functions
// while they load the client, not each when it is first called.
//
//go:generate -command bundle go tool -modfile=../tools/go.mod esbuild --bundle --minify --log-level=warning --target=es2022
//go:generate bundle src/index.ts --format=esm "--banner:js=//# allFunctionsCalledOnLoad" --outfile=bundle/client.js
//go:generate bundle src/index.ts --format=iife --global-name=pollbridge "--banner:js=//# allFunctionsCalledOnLoad" --outfile=bundle/client.global.js
//go:generate bundle src/diagnose.ts --format=esm --outfile=bundle/diagnose.js

// Module is the client as an ES module.
//
//go:embed bundle/client.js
var Module []byte

// Global is the client as a classic script that defines window.pollbridge.
//
//go:embed bundle/client.global.js
var Global []byte

// Diagnose is the network check as an ES module.
//
//go:embed bundle/diagnose.js
var Diagnose []byte
