// Package jsclient holds the browser client as the bridge serves it: the
// bundles that esbuild makes of the TypeScript beside this file. The npm
// package pollbridge is the same code, unbundled.
package jsclient

import _ "embed"

// Internal properties get short names; none of them is one that users or browsers know.
//
//go:generate -command bundle go tool -modfile=../tools/go.mod esbuild src/index.ts --bundle --minify --log-level=warning --target=es2022 --mangle-props=^(acked|activate|adopt|atLeast|awaiting|buffered|cancels|contentSubtype|controller|createdAt|createdMicros|critical|cutOff|delivered|flyingOn|frames|giveUp|goAway|granted|grants|hasCredit|heldMicros|highest|holdMillis|hurry|inTurn|inbox|incarnation|incoming|isOurs|lapsed|lastSeq|lookup|lowest|markLost|maxBatchBytes|maxBytes|maxMetadataBytes|maxStreams|nextX|nowMicros|openedAt|orphans|outgoing|parked|pauseMaxMillis|pauseMillis|peerStreamWindow|pieces|prefer|proven|resend|reserved|restate|resumeMillis|sendable|sentAt|session|sessionWindow|singleRequest|singleResponse|smooth|spreadMillis|stopped|streamWindow|takeX|timedOut|timeoutMicros|trouble|versions|waitingBytes|welcome|welcomed|whenIdle|withdraw)$
//go:generate bundle --format=esm --outfile=bundle/client.js
//go:generate bundle --format=iife --global-name=pollbridge --outfile=bundle/client.global.js

// Module is the client as an ES module.
//
//go:embed bundle/client.js
var Module []byte

// Global is the client as a classic script that defines window.pollbridge.
//
//go:embed bundle/client.global.js
var Global []byte
