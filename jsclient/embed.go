// Package jsclient holds the browser client as the bridge serves it: the
// bundles that esbuild makes of the TypeScript beside this file. The npm
// package pollbridge is the same code, unbundled.
package jsclient

import (
	"embed"
	"path"
)

// Browsers that know the hint in the first line (Chrome from 136 on) compile the functions
// while they load the client, not each when it is first called.
//
//go:generate -command bundle go tool -modfile=../tools/go.mod esbuild --bundle --minify --log-level=warning --target=es2022
//go:generate bundle src/index.ts --format=esm "--banner:js=//# allFunctionsCalledOnLoad" --outfile=bundle/client.js
//go:generate bundle src/index.ts --format=iife --global-name=pollbridge "--banner:js=//# allFunctionsCalledOnLoad" --outfile=bundle/client.global.js
//go:generate bundle src/diagnose.ts --format=esm --outfile=bundle/diagnose.js
//go:generate bundle src/connect.ts src/protobuf-ts.ts src/nice-grpc-web.ts src/grpc-web.ts src/shared.ts src/shared-worker.ts --format=esm --packages=external --external:*/client.js --outdir=bundle

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

//go:embed bundle/connect.js bundle/protobuf-ts.js bundle/nice-grpc-web.js bundle/grpc-web.js bundle/shared.js bundle/shared-worker.js
var adapters embed.FS

// Adapters returns the adapters, and what shares requests among tabs, as ES
// modules by file name. They import client.js beside them, and the library that
// they adapt by its name, which a page resolves by an import map. The text is
// the caller's.
func Adapters() map[string][]byte {
	texts := map[string][]byte{}
	const folder = "bundle"
	files, err := adapters.ReadDir(folder)
	if err != nil {
		panic(err) // it is part of the program
	}
	for _, file := range files {
		if texts[file.Name()], err = adapters.ReadFile(path.Join(folder, file.Name())); err != nil {
			panic(err)
		}
	}
	return texts
}
