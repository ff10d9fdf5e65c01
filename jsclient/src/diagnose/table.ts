// Code generated from internal/netcheck/table.json by go test ./internal/netcheck -update. DO NOT EDIT.

import type { Table } from "./report.js";

export const table: Table = {
  "checks": [
    {
      "id": "reach",
      "title": "Reach",
      "outcomes": {
        "ok": { "level": "good", "says": "The bridge answers, over {http}, {rtt} after the request." },
        "http10": { "level": "warn", "says": "The bridge answers, but a proxy makes HTTP/1.0 without lengths of it: a broken answer looks complete.", "advice": "Let the proxy speak HTTP/1.1. Pollbridge notices broken answers by itself." },
        "off": { "level": "warn", "says": "The bridge answers, but its network check is switched off ({status}).", "advice": "Start it with --check to find out more." },
        "origin": { "level": "bad", "says": "The bridge refuses this page: {problem}", "advice": "Name the page's origin with --allow-origin; behind a proxy that changes Host, let it pass Host, or use --trusted-proxy." },
        "busy": { "level": "warn", "says": "The bridge runs too many network checks at once.", "advice": "Try again in a few minutes." },
        "login": { "level": "bad", "says": "A proxy wants a login first (status {status}).", "advice": "Log in to the proxy, or give its URL with user and password." },
        "page": { "level": "bad", "says": "Somebody on the way answers with a page of its own: “{problem}”.", "advice": "Open any http:// site in a browser and log in to the network, or have the bridge's address allowed." },
        "refused": { "level": "bad", "says": "Somebody on the way refuses requests to the bridge (status {status}).", "advice": "Have the bridge's address allowed in the proxy or firewall, or correct the URL." },
        "untrusted": { "level": "bad", "says": "The bridge's TLS certificate is not trusted: {problem}", "advice": "If a company's proxy looks into TLS, install its CA's certificate; else give the bridge a proper certificate." },
        "unreachable": { "level": "bad", "says": "There is no way to the bridge: {problem}", "advice": "Check the URL, the name's address, and whether a proxy has to be used." },
        "mute": { "level": "bad", "says": "Nobody answers: requests disappear.", "advice": "A firewall drops them, or the bridge is down. Have the bridge's address and port allowed." }
      }
    },
    {
      "id": "tls",
      "title": "TLS interception",
      "outcomes": {
        "ok": { "level": "good", "says": "TLS reaches from here to the bridge ({version})." },
        "intercepted": { "level": "warn", "says": "Somebody between here and the bridge ends TLS and reads along{via}.", "advice": "Usual where a company's proxy inspects, or a load balancer is in front of the bridge. If neither is wanted, find out who it is." },
        "terminated": { "level": "none", "says": "TLS ends at a proxy or balancer in front of the bridge{via}." },
        "hint": { "level": "warn", "says": "Probably somebody reads along: the bridge sees another kind of HTTPS than this browser speaks{via}.", "advice": "Usual where a company's proxy inspects. A page cannot tell for certain." },
        "unknown": { "level": "none", "says": "HTTPS; no sign of anybody who reads along, but a page cannot tell for certain{via}." },
        "plain": { "level": "none", "says": "No TLS: everybody on the way can read and change what passes{via}.", "advice": "Use HTTPS: middleboxes leave alone what they cannot read." }
      }
    },
    {
      "id": "headers",
      "title": "Headers on the way",
      "outcomes": {
        "ok": { "level": "good", "says": "Requests and answers keep their headers." },
        "added": { "level": "good", "says": "Requests and answers keep their headers; on the way were added: {names}." },
        "stripped": { "level": "warn", "says": "Headers are removed on the way: {names}.", "advice": "Nothing depends on those. If pages of other origins use the bridge, let the CORS headers through." },
        "changed": { "level": "bad", "says": "Content-Type is changed on the way, to {type}.", "advice": "Long-polling needs the request's own Content-Type: exempt the bridge's path from rewriting." }
      }
    },
    {
      "id": "encoding",
      "title": "Compression",
      "outcomes": {
        "ok": { "level": "good", "says": "Answers come as they were sent." },
        "compressed": { "level": "warn", "says": "A proxy compresses answers that forbid it (no-transform).", "advice": "Exclude the bridge's path from compression: it costs time and gains nothing." }
      }
    },
    {
      "id": "websocket",
      "title": "WebSocket",
      "outcomes": {
        "ok": { "level": "good", "says": "WebSockets open in {opened} and echo 1 byte, all byte values and 64 KiB unchanged." },
        "stripped": { "level": "warn", "says": "A proxy removes Upgrade: WebSocket handshakes arrive as plain requests.", "advice": "Not needed: long-polling carries everything. For lower latency let the proxy pass upgrades." },
        "refused": { "level": "warn", "says": "Somebody on the way refuses WebSockets{status}.", "advice": "Not needed: long-polling carries everything. Proxies often allow CONNECT to port 443 only: serve the bridge there, with TLS." },
        "swallowed": { "level": "warn", "says": "WebSocket handshakes disappear without an answer.", "advice": "Not needed: long-polling carries everything. A firewall that inspects protocols drops them." },
        "mute": { "level": "warn", "says": "WebSockets open, but then nothing passes through them.", "advice": "Not needed: Pollbridge trusts a WebSocket only after an echo. A proxy that does not understand WebSockets is on the way." },
        "breaks": { "level": "warn", "says": "WebSockets open, but break on larger messages ({problem}).", "advice": "Pollbridge moves to long-polling when one breaks." },
        "changed": { "level": "bad", "says": "What WebSockets carry is changed on the way.", "advice": "Use HTTPS: then nobody on the way can change it unnoticed." },
        "none": { "level": "none", "says": "There are no WebSockets here." }
      }
    },
    {
      "id": "streaming",
      "title": "Response buffering",
      "outcomes": {
        "ok": { "level": "good", "says": "Pieces of an answer pass as they are sent (latest {lag} late)." },
        "buffered": { "level": "warn", "says": "Answers are held back until they are complete.", "advice": "No harm: Pollbridge never streams an answer. Gateways that do, as gRPC-Web's, fail here." },
        "threshold": { "level": "warn", "says": "Small pieces of an answer are held back until enough have come.", "advice": "No harm: Pollbridge never streams an answer. nginx does this without X-Accel-Buffering: no." },
        "onebehind": { "level": "warn", "says": "Each piece of an answer is held back until the next one comes.", "advice": "No harm: Pollbridge never streams an answer." },
        "unknown": { "level": "none", "says": "Could not be found out: {problem}." }
      }
    },
    {
      "id": "steady",
      "title": "Answers, one by one",
      "outcomes": {
        "ok": { "level": "good", "says": "All of {count} requests were answered, by the bridge and in time." },
        "lost": { "level": "warn", "says": "Of {count} requests {bad} reached the bridge, but their answers were replaced by an error (status {status}).", "advice": "Pollbridge asks again and nothing runs twice. Look for a proxy or balancer that fails now and then." },
        "refused": { "level": "warn", "says": "Of {count} requests {bad} were refused on the way (status {status}).", "advice": "Pollbridge asks again. Look for a proxy or balancer that fails now and then." },
        "page": { "level": "warn", "says": "Of {count} requests {bad} were answered with somebody's page: “{problem}”.", "advice": "Pollbridge asks again. A login has probably expired: log in to the network." },
        "stale": { "level": "warn", "says": "Of {count} requests {bad} were answered with an older answer.", "advice": "Pollbridge notices and asks again. A cache on the way ignores no-store, even for POST." },
        "late": { "level": "warn", "says": "Of {count} requests {bad} took far longer than the others, up to {longest}.", "advice": "Pollbridge asks beside them. Look for an overloaded proxy." },
        "cut": { "level": "warn", "says": "Of {count} requests {bad} lost their HTTP connection.", "advice": "Pollbridge asks again. The network, or a proxy, drops connections." },
        "mute": { "level": "warn", "says": "Of {count} requests {bad} were never answered.", "advice": "Pollbridge asks again, on another connection. A firewall forgets connections." }
      }
    },
    {
      "id": "errors",
      "title": "Error answers",
      "outcomes": {
        "ok": { "level": "good", "says": "An error of the bridge arrives as it was sent." },
        "rewritten": { "level": "warn", "says": "Error answers are replaced by pages of a proxy (status {status}).", "advice": "No harm to RPCs, which travel in answers with status 200; but refusals become harder to understand." }
      }
    },
    {
      "id": "types",
      "title": "Content types and preflight",
      "outcomes": {
        "ok": { "level": "good", "says": "Binary and text bodies arrive unchanged, and a browser's preflight is answered." },
        "preflight": { "level": "warn", "says": "Preflights (OPTIONS) are refused on the way (status {status}).", "advice": "Pages of the bridge's own origin need none. For pages elsewhere let OPTIONS through." },
        "origin": { "level": "warn", "says": "The bridge would refuse a page of its own origin: {problem}", "advice": "A proxy in front changes Host: let it pass Host, use --trusted-proxy, or name the origin with --allow-origin." },
        "binary": { "level": "bad", "says": "Binary bodies (application/octet-stream) do not arrive unchanged.", "advice": "Use HTTPS, or exempt the bridge's path from content filters." },
        "text": { "level": "warn", "says": "Text bodies (text/plain) do not arrive unchanged.", "advice": "Only a page that is being closed uses them." }
      }
    },
    {
      "id": "cache",
      "title": "Caching",
      "outcomes": {
        "ok": { "level": "good", "says": "Each request is answered anew." },
        "cached": { "level": "warn", "says": "A cache answers GETs from memory although it must not (no-store).", "advice": "No harm to RPCs, which are POSTs. A new release of the client may take long to arrive." }
      }
    },
    {
      "id": "upload",
      "title": "Bodies up",
      "outcomes": {
        "ok": { "level": "good", "says": "Requests of up to {size} pass{slow}." },
        "status": { "level": "warn", "says": "Requests over {size} are refused (status {status}).", "advice": "Pollbridge cuts its batches to what passes. Raise the proxy's limit for bodies (nginx: client_max_body_size 2m) for more speed." },
        "reset": { "level": "warn", "says": "Requests over {size} lose their connection, with no status.", "advice": "Pollbridge cuts its batches to what passes. Raise the proxy's limit for bodies." },
        "none": { "level": "bad", "says": "Not even a small request with a body passes.", "advice": "Have POST requests to the bridge allowed." }
      }
    },
    {
      "id": "download",
      "title": "Bodies down",
      "outcomes": {
        "ok": { "level": "good", "says": "Answers of up to {size} pass{slow}." },
        "cut": { "level": "warn", "says": "Answers are cut off on the way, one after {cut}.", "advice": "Pollbridge notices, asks again and takes smaller batches. Look for a scanner, or a flaky network." },
        "status": { "level": "warn", "says": "Answers over {size} are replaced by an error (status {status}).", "advice": "Pollbridge takes smaller batches. Raise the proxy's limit." },
        "none": { "level": "bad", "says": "No answer with a body passes.", "advice": "Have the bridge's address exempted from content filters." }
      }
    },
    {
      "id": "parallel",
      "title": "Requests at once",
      "outcomes": {
        "ok": { "level": "good", "says": "{peak} requests at once reach the bridge." },
        "few": { "level": "warn", "says": "No more than {peak} requests at once reach the bridge.", "advice": "Pollbridge needs two. With many tabs open, pages may wait for one another." },
        "one": { "level": "warn", "says": "Only one request at a time reaches the bridge.", "advice": "Pollbridge ends its own waiting poll when it has to send. Raise the proxy's limit of connections for each client." }
      }
    },
    {
      "id": "order",
      "title": "Order of requests",
      "outcomes": {
        "ok": { "level": "good", "says": "Requests arrive in the order in which they were sent." },
        "reordered": { "level": "warn", "says": "Later requests overtake earlier ones.", "advice": "Pollbridge numbers everything and puts it in order." }
      }
    },
    {
      "id": "abort",
      "title": "Giving up",
      "outcomes": {
        "ok": { "level": "good", "says": "The bridge is told when a request is given up." },
        "untold": { "level": "warn", "says": "The bridge is not told when a request is given up: it waits for nobody.", "advice": "Costs the bridge memory, and nothing is lost. HAProxy: option abortonclose." },
        "unknown": { "level": "none", "says": "Could not be found out." }
      }
    },
    {
      "id": "hold",
      "title": "Longest wait",
      "outcomes": {
        "ok": { "level": "good", "says": "An answer may take {longest}, and was never cut." },
        "status": { "level": "warn", "says": "What takes longer than {longest} is cut with status {status}, after {cut}.", "advice": "Pollbridge waits for 18 s at most, unless told, and learns to wait less. Better: raise the proxy's timeout (nginx: proxy_read_timeout; HAProxy: timeout server) above 20 s, or lower --hold." },
        "eof": { "level": "warn", "says": "What takes longer than {longest} loses its connection, after {cut}.", "advice": "Pollbridge waits for 18 s at most, unless told, and learns to wait less. Better: raise the proxy's timeout above 20 s, or lower --hold." },
        "short": { "level": "warn", "says": "What takes longer than {longest} is ended as an empty answer, after {cut}.", "advice": "Pollbridge notices and learns to wait less. Better: raise the proxy's timeout above 20 s, or lower --hold." },
        "idle": { "level": "warn", "says": "Connections that were quiet for a while are forgotten, and nobody is told: what takes longer than {longest} is never answered.", "advice": "Pollbridge learns to wait less. A firewall or NAT has a short memory: raise its idle timeout, or lower --hold." },
        "age": { "level": "warn", "says": "Connections are forgotten at a certain age, busy or not, and nobody is told: what takes longer than {longest} is never answered.", "advice": "Pollbridge gives each request a deadline and asks again elsewhere. Look for a failing firewall." }
      }
    },
    {
      "id": "idle",
      "title": "WebSocket's idle life",
      "outcomes": {
        "ok": { "level": "good", "says": "A quiet WebSocket lives for {longest} at least." },
        "idle": { "level": "warn", "says": "A WebSocket that was quiet for {cut} is dead; one that was quiet for {longest} was not.", "advice": "Pollbridge pings after 15 s of silence, sooner after an early end, every second or two while an RPC is open, and goes over to long-polling meanwhile. Raise the idle timeout above 30 s." },
        "age": { "level": "warn", "says": "WebSockets end after about {cut}, busy or not.", "advice": "Pollbridge goes on over long-polling and opens another one. Raise the proxy's timeout for tunnels (HAProxy: timeout tunnel)." },
        "none": { "level": "none", "says": "There are no WebSockets here." }
      }
    },
    {
      "id": "copies",
      "title": "Duplicate delivery",
      "outcomes": {
        "ok": { "level": "good", "says": "Each request arrives once." },
        "twice": { "level": "warn", "says": "Requests arrive more than once ({copies} of them).", "advice": "Nothing runs twice: Pollbridge recognises copies. Switch off retries in the proxy (nginx: proxy_next_upstream off; HAProxy: retry-on none)." },
        "late": { "level": "warn", "says": "Copies of requests arrive later, up to {late} after them ({copies} of them).", "advice": "Nothing runs twice: Pollbridge recognises copies. Switch off retries in the proxy." },
        "unknown": { "level": "none", "says": "Could not be found out." }
      }
    },
    {
      "id": "speed",
      "title": "Speed",
      "outcomes": {
        "ok": { "level": "good", "says": "Round trip {rtt} ± {jitter}, {down} down, {up} up{ws}." },
        "far": { "level": "warn", "says": "Far away: round trip {rtt} ± {jitter}, {down} down, {up} up{ws}.", "advice": "Everything works, but waits for each round trip. Deadlines adapt." },
        "narrow": { "level": "warn", "says": "Narrow: {down} down, {up} up, round trip {rtt} ± {jitter}{ws}.", "advice": "Everything works, but large messages take their time. Deadlines adapt." }
      }
    },
    {
      "id": "longpoll",
      "title": "RPCs over long-polling",
      "outcomes": {
        "ok": { "level": "good", "says": "All four kinds of RPC work, through a cut of every connection, in {took}." },
        "opens": { "level": "good", "says": "A session opens in {took}." },
        "unauthenticated": { "level": "warn", "says": "A session opens, but the bridge wants a login of its own: {problem}", "advice": "Run the check with the application's token." },
        "fails": { "level": "bad", "says": "RPCs fail: {problem}", "advice": "See what is amber or red above." }
      }
    },
    {
      "id": "ws",
      "title": "RPCs over WebSocket",
      "outcomes": {
        "ok": { "level": "good", "says": "All four kinds of RPC work, through a cut of every connection, in {took}." },
        "opens": { "level": "good", "says": "A session opens in {took}." },
        "unauthenticated": { "level": "warn", "says": "A session opens, but the bridge wants a login of its own: {problem}", "advice": "Run the check with the application's token." },
        "fails": { "level": "warn", "says": "RPCs fail on WebSocket alone: {problem}", "advice": "Not needed where long-polling works." },
        "none": { "level": "none", "says": "WebSockets do not get through." }
      }
    }
  ],
  "skipped": { "level": "none", "says": "Not tried." },
  "profiles": [
    { "id": "blackhole", "alone": true, "when": { "reach": ["mute"] }, "says": "requests disappear" },
    { "id": "unreachable", "alone": true, "when": { "reach": ["unreachable", "untrusted"] }, "says": "there is no way to the bridge" },
    { "id": "login", "alone": true, "when": { "reach": ["login"] }, "says": "a proxy wants a login" },
    { "id": "captive", "alone": true, "when": { "reach": ["page"] }, "says": "somebody answers in the bridge's place, as a login page does" },
    { "id": "refused", "alone": true, "when": { "reach": ["refused", "origin"] }, "says": "requests are refused" },
    { "id": "inspected", "when": { "tls": ["intercepted", "hint"] }, "says": "somebody ends TLS on the way" },
    { "id": "http10", "when": { "reach": ["http10"] }, "says": "a proxy speaks HTTP/1.0" },
    { "id": "headers-changed", "when": { "headers": ["changed"] }, "says": "Content-Type is changed" },
    { "id": "headers-stripped", "when": { "headers": ["stripped"] }, "says": "headers are removed" },
    { "id": "compressed", "when": { "encoding": ["compressed"] }, "says": "answers are compressed" },
    { "id": "no-upgrade", "when": { "websocket": ["stripped"] }, "says": "a proxy strips WebSocket upgrades" },
    { "id": "websocket-refused", "when": { "websocket": ["refused"] }, "says": "WebSockets are refused" },
    { "id": "websocket-swallowed", "when": { "websocket": ["swallowed"] }, "says": "WebSocket handshakes disappear" },
    { "id": "websocket-mute", "when": { "websocket": ["mute"] }, "says": "WebSockets open and stay mute" },
    { "id": "websocket-breaks", "when": { "websocket": ["breaks", "changed"] }, "says": "WebSockets break" },
    { "id": "buffered", "when": { "streaming": ["buffered"] }, "unless": { "encoding": ["compressed"] }, "says": "answers are held back until they are complete" },
    { "id": "buffered-threshold", "when": { "streaming": ["threshold"] }, "unless": { "encoding": ["compressed"] }, "says": "answers are held back until enough has come" },
    { "id": "one-behind", "when": { "streaming": ["onebehind"] }, "says": "the last piece of an answer is held back" },
    { "id": "answers-lost", "when": { "steady": ["lost", "refused"] }, "says": "some answers are replaced by errors" },
    { "id": "pages-injected", "when": { "steady": ["page"] }, "says": "some answers are replaced by a page" },
    { "id": "stale", "when": { "steady": ["stale"] }, "says": "some answers are old ones" },
    { "id": "late", "when": { "steady": ["late"] }, "unless": { "order": ["reordered"] }, "says": "some requests are far too late" },
    { "id": "lossy", "when": { "steady": ["cut", "mute"] }, "unless": { "hold": ["age", "idle"] }, "says": "some requests get no answer" },
    { "id": "errors-rewritten", "when": { "errors": ["rewritten"] }, "says": "error answers are replaced" },
    { "id": "no-preflight", "when": { "types": ["preflight"] }, "says": "preflights are refused" },
    { "id": "host-rewritten", "when": { "types": ["origin"] }, "says": "a proxy changes Host" },
    { "id": "bodies-changed", "when": { "types": ["binary", "text"] }, "unless": { "headers": ["changed"] }, "says": "bodies are changed" },
    { "id": "cache", "when": { "cache": ["cached"] }, "says": "a cache answers GETs" },
    { "id": "body-limit", "when": { "upload": ["status"] }, "says": "large requests are refused" },
    { "id": "body-limit-mute", "when": { "upload": ["reset", "none"] }, "says": "large requests lose their connection" },
    { "id": "answers-cut", "when": { "download": ["cut", "status", "none"] }, "says": "answers are cut off" },
    { "id": "one-at-a-time", "when": { "parallel": ["one", "few"] }, "says": "few requests pass at once" },
    { "id": "reorder", "when": { "order": ["reordered"] }, "says": "requests overtake one another" },
    { "id": "linger", "when": { "abort": ["untold"] }, "says": "the bridge is not told when a request is given up" },
    { "id": "cut-status", "when": { "hold": ["status"] }, "says": "long waits are cut with an error page" },
    { "id": "cut-eof", "when": { "hold": ["eof"] }, "says": "long waits lose their connection" },
    { "id": "cut-short", "when": { "hold": ["short"] }, "says": "long waits end as empty answers" },
    { "id": "idle-forgotten", "when": { "hold": ["idle"] }, "says": "quiet connections are forgotten" },
    { "id": "age-forgotten", "when": { "hold": ["age"] }, "says": "connections are forgotten at a certain age" },
    { "id": "websocket-cut", "when": { "idle": ["idle", "age"], "hold": ["ok"] }, "says": "WebSockets are ended early" },
    { "id": "copies", "when": { "copies": ["twice"] }, "says": "requests arrive twice" },
    { "id": "copies-late", "when": { "copies": ["late"] }, "says": "late copies of requests arrive" },
    { "id": "far", "when": { "speed": ["far"] }, "says": "the bridge is far away" },
    { "id": "narrow", "when": { "speed": ["narrow"] }, "says": "the network is slow" }
  ],
  "clean": { "id": "clean", "says": "nothing wrong was found" },
  "verdicts": [
    { "when": { "longpoll": ["ok", "opens"], "ws": ["ok", "opens"] }, "clean": true, "level": "good", "says": "Works, over WebSocket and long-polling: {findings}." },
    { "when": { "longpoll": ["ok", "opens"], "ws": ["ok", "opens"] }, "level": "good", "says": "Works, over WebSocket and long-polling, although {findings}." },
    { "when": { "longpoll": ["ok", "opens"] }, "level": "warn", "says": "Works, over long-polling, although {findings}." },
    { "when": { "ws": ["ok", "opens"] }, "level": "warn", "says": "Works over WebSocket only: {findings}." },
    { "when": { "longpoll": ["unauthenticated"] }, "level": "warn", "says": "The network lets sessions through; the bridge wants a login. {Findings}." },
    { "when": {}, "level": "bad", "says": "Does not work: {findings}." }
  ]
};
