// Package jsclient holds the browser client as the bridge serves it: the
// bundles that esbuild makes of the TypeScript beside this file. The npm
// package pollbridge is the same code, unbundled.
package jsclient

import _ "embed"

// Internal properties get short names; none of them is one that users or browsers know, but
// where it is quoted.
//
//go:generate -command bundle go tool -modfile=../tools/go.mod esbuild src/index.ts --bundle --minify --log-level=warning --target=es2022 --mangle-props=^(accept|acked|activate|active|adopt|again|answered|asked|askedAt|asks|atLeast|attach|awaiting|base|batch|beacon|begin|bound|broke|buffered|byte|bytes|cancels|changed|closing|config|contentSubtype|controller|cost|createdAt|createdMicros|credit|critical|cutOff|delivered|dial|doubt|doubted|doubts|drop|early|empty|ended|enum|error|exchange|excused|expire|expired|field|fill|finish|fits|fixed64|flying|flyingOn|forbid|forbidden|forget|frame|frames|full|give|giveUp|goAway|got|granted|grants|hasCredit|hasWebSocket|header|held|heldMicros|hello|highest|hold|holdMillis|holds|hurry|inTurn|inbox|incarnation|incoming|isOurs|lacks|lapsed|large|lastSeq|leave|left|limit|list|lookup|lose|lost|lowest|markLost|maxBatchBytes|maxBytes|maxMetadataBytes|maxStreams|mute|nextX|nonzero|note|nowMicros|number|oldest|once|opened|openedAt|orphans|out|outgoing|over|overdue|owed|owes|padding|parked|path|pause|pauseMaxMillis|pauseMillis|paused|peerStreamWindow|phase|pieces|ping|pong|prefer|probe|proof|proven|put|queue|raise|raw|rate|ready|receive|received|recv|refused|renew|renewing|request|resend|resent|reserve|reserved|restate|resumeMillis|resumes|room|save|sendable|sentAt|session|sessionWindow|settle|shorten|sid|skip|smooth|socketBatch|spreadMillis|start|started|steady|stopped|stream|streamWindow|tag|take|takeX|taken|timedOut|timeoutMicros|timer|timers|tokenTaken|took|trial|trouble|turn|uint32|useful|varint|versions|waitingBytes|waits|wake|wall|wantsProof|welcome|welcomed|whenIdle|window|withdraw|woken|zero)$
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
