// Package jsclient holds the browser client as the bridge serves it: the
// bundles that esbuild makes of the TypeScript beside this file. The npm
// package pollbridge is the same code, unbundled.
package jsclient

import _ "embed"

// Internal properties get short names; none of them is one that users or browsers know, but
// where it is quoted. Browsers that know the hint in the first line (Chrome from 136 on) compile
// the functions while they load the client, not each when it is first called.
//
//go:generate -command bundle go tool -modfile=../tools/go.mod esbuild --bundle --minify --log-level=warning --target=es2022 "--banner:js=//# allFunctionsCalledOnLoad" --mangle-props=^(accept|ack|acked|activate|active|adopt|again|answered|asked|askedAt|asks|atLeast|attach|awaiting|base|batch|beacon|begin|bound|broke|buffered|byte|bytes|calm|cancels|carrier|carry|changeForm|changed|closing|config|contentSubtype|controller|cost|createdAt|createdMicros|credit|critical|cutOff|delivered|dial|dialWhenDue|doubt|doubted|doubts|drop|early|empty|encodeBatch|ended|enum|error|exchange|exchanges|excused|expire|expired|explain|explained|failed|field|fill|finish|fits|fixed64|flying|flyingOn|forbid|forbidden|forget|frame|frames|full|give|giveUp|goAway|got|granted|grants|halt|hasCredit|header|held|heldMicros|hello|highest|hold|holdMillis|holds|hurry|inTurn|inbox|incarnation|incoming|integer|isOurs|lacks|laden|lapsed|large|lastSeq|least|leave|leaves|left|limit|list|lose|lost|low|lowest|markLost|maxBatchBytes|maxBytes|maxMetadataBytes|maxStreams|mute|nextX|note|nowMicros|number|off|oldest|once|opened|openedAt|orphans|out|outgoing|over|overdue|owed|owes|padding|parked|parseBatch|path|pause|pauseMaxMillis|pauseMillis|paused|phase|pieces|ping|polls|pong|prefer|probe|proof|proven|put|queue|raise|rate|raw|read|ready|receive|received|recv|refused|renew|renewing|request|resend|resent|reserve|reserved|restate|resumeMillis|resumes|retire|room|save|sendable|sent|sentAt|seq|session|sessionWindow|settle|shorten|sid|skip|smooth|socketBatch|sockets|spreadMillis|start|started|steady|stopped|stream|streamWindow|tag|take|taken|timedOut|timeoutMicros|timer|timers|token|tokenDue|tokenTaken|took|trial|trouble|turn|uint32|unsent|uploadTime|useful|varint|versions|waitingBytes|waits|wake|wall|wantsProof|welcome|window|withdraw|woken|zero)$
//go:generate bundle client=src/index.ts --format=esm --splitting --chunk-names=[name] --outdir=bundle
//go:generate bundle src/index.ts --format=iife --global-name=pollbridge --outfile=bundle/client.global.js
//go:generate go tool -modfile=../tools/go.mod esbuild src/diagnose.ts --bundle --minify --log-level=warning --target=es2022 --format=esm --outfile=bundle/diagnose.js

// Module is the client as an ES module.
//
//go:embed bundle/client.js
var Module []byte

// Later is what Module loads, from beside itself, once a session is open: WebSockets, the life
// of the page, and what learns how long, how large and of which form exchanges may be.
//
//go:embed bundle/later.js
var Later []byte

// Causes is what Module loads, from beside itself, when a bridge cannot be reached.
//
//go:embed bundle/causes.js
var Causes []byte

// Global is the client as a classic script that defines window.pollbridge.
//
//go:embed bundle/client.global.js
var Global []byte

// Diagnose is the network check as an ES module.
//
//go:embed bundle/diagnose.js
var Diagnose []byte
