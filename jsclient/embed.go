// Package jsclient holds the browser client as the bridge serves it: the
// bundles that esbuild makes of the TypeScript beside this file. The npm
// package pollbridge is the same code, unbundled.
package jsclient

import _ "embed"

// Internal properties get short names; none of them is one that users or browsers know.
//
//go:generate -command bundle go tool -modfile=../tools/go.mod esbuild src/index.ts --bundle --minify --log-level=warning --target=es2022 --mangle-props=^(acked|activate|asked|askedAt|asks|active|adopt|again|answered|atLeast|attach|awaiting|batch|beacon|begin|bound|buffered|cancels|credit|changed|closing|config|contentSubtype|controller|cost|createdAt|createdMicros|critical|cut|cutOff|delivered|dial|drop|early|exchange|finish|fits|fixed64|flying|flyingOn|forget|frames|giveUp|goAway|got|granted|grants|hasCredit|header|held|heldMicros|hello|highest|hold|holdMillis|holds|hurry|inTurn|inbox|incarnation|incoming|isOurs|lacks|lapsed|large|lastSeq|leave|left|limit|lose|lost|lowest|markLost|maxBatchBytes|maxBytes|maxMetadataBytes|maxStreams|lookup|renew|renewing|tokenTaken|trial|expired|mute|nextX|nonzero|note|nowMicros|number|once|opened|openedAt|orphans|out|outgoing|over|owed|owes|padding|parked|resent|path|pause|pauseMaxMillis|pauseMillis|paused|peerStreamWindow|phase|pieces|ping|pong|put|prefer|probe|proven|queue|raise|receive|received|recv|request|resend|reserve|reserved|restate|resumeMillis|room|sendable|sentAt|session|sessionWindow|settle|sid|smooth|spreadMillis|started|stopped|streamWindow|tag|take|takeX|taken|timedOut|timeoutMicros|timers|trouble|turn|uint32|varint|versions|waitingBytes|waits|wake|welcome|welcomed|whenIdle|withdraw|woken|zero)$
//go:generate bundle --format=esm --outfile=bundle/client.js
//go:generate bundle --format=iife --global-name=pollbridge --outfile=bundle/client.global.js
//go:generate go tool -modfile=../tools/go.mod esbuild src/diagnose.ts --bundle --minify --log-level=warning --target=es2022 --format=esm --outfile=bundle/diagnose.js

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
