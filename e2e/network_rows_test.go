package e2e_test

// row is a network: a row of the matrix.
type row struct {
	name    string
	profile string
	way     path
	does    string // what such a network does, for people
	carried string // what carries frames at the end, where the client may choose
	// fails has what the UNAVAILABLE names where nothing can get through, by
	// the choice of transports.
	fails map[string]string
}

// all is for rows where nothing gets through, whatever the choice.
func all(names string) map[string]string {
	return map[string]string{automatic: names, longpoll: names, ws: names}
}

func onlyWS(names string) map[string]string { return map[string]string{ws: names} }

var rows = []row{
	{name: "clean", does: "nothing wrong", carried: ws},
	{name: "clean forward", way: forward, does: "a forward proxy, http by absolute URL, WebSocket by CONNECT", carried: ws},
	{name: "clean tunnel", way: tunnelled, does: "a forward proxy, https by CONNECT", carried: ws},
	{name: "inspected", way: inspected, does: "looks into TLS with a CA of its own", carried: ws},

	{name: "buffer", profile: "buffer", does: "hands an answer on when it is complete", carried: ws},
	{name: "buffer, no upgrade", profile: "buffer noupgrade", way: inspected, does: "scans all bodies, inside TLS too, and strips Upgrade", carried: longpoll, fails: onlyWS("status 426")},
	{name: "bufbytes", profile: "bufbytes=4096", does: "hands an answer on when 4 KiB of it have come", carried: ws},
	{name: "onebehind", profile: "onebehind", does: "keeps the last piece until the next one comes", carried: ws},
	{name: "gzip", profile: "gzip", does: "compresses what clients accept compressed", carried: ws},
	{name: "http10", profile: "http10", does: "speaks HTTP/1.0 without length: a broken answer looks complete", carried: ws},
	{name: "http10, broken", profile: "http10 killafter=700 killevery=3 noupgrade", does: "the same, and it breaks", carried: longpoll, fails: onlyWS("status 426")},
	{name: "cache", profile: "cache", does: "answers a GET from memory", carried: ws},

	{name: "cut 504", profile: "cut=1s", does: "ends exchanges after 1 s with a page and status 504, and WebSockets too"},
	{name: "cut eof", profile: "cut=1s cutwith=eof", does: "closes connections after 1 s"},
	{name: "cut short", profile: "cut=1s cutwith=short", does: "ends exchanges after 1 s as an empty answer 200"},
	{name: "cut 504, no upgrade", profile: "cut=1s noupgrade", way: inspected, does: "504 after 1 s, and no WebSocket", carried: longpoll, fails: onlyWS("status 426")},
	{name: "idledrop", profile: "idledrop=800ms", does: "forgets connections that were idle for 0.8 s and tells nobody"},
	{name: "idledrop, no upgrade", profile: "idledrop=800ms noupgrade", does: "the same, and no WebSocket", carried: longpoll, fails: onlyWS("status 426")},
	{name: "blackhole late", profile: "blackhole=3s", does: "forgets connections after 3 s, busy or not"},
	{name: "blackhole", profile: "blackhole=1ns", does: "accepts connections and says nothing", fails: map[string]string{automatic: "no answer", longpoll: "no answer", ws: "did not open in time"}},
	{name: "killafter", profile: "killafter=80000", does: "resets after 80,000 bytes of an answer or a WebSocket"},
	{name: "killafter, early", profile: "killafter=20000", does: "resets after 20,000 bytes"},
	{name: "killafter, no upgrade", profile: "killafter=300 killevery=2 noupgrade", does: "resets every second answer after 300 bytes, and no WebSocket", carried: longpoll, fails: onlyWS("status 426")},

	{name: "noupgrade", profile: "noupgrade", does: "strips Upgrade", carried: longpoll, fails: onlyWS("status 426")},
	{name: "fakeupgrade", profile: "fakeupgrade", does: "passes the 101 on, then nothing", carried: longpoll, fails: onlyWS("opened, but no Welcome came")},
	{name: "muteupgrade", profile: "muteupgrade", does: "swallows requests with Upgrade", carried: longpoll, fails: onlyWS("did not open in time")},
	{name: "noconnect", profile: "noconnect", way: forward, does: "a forward proxy that allows no CONNECT", carried: longpoll, fails: onlyWS("status 403")},
	{name: "noconnect, https", profile: "noconnect", way: tunnelled, does: "the same, and the bridge has https only", fails: all("status 403")},
	{name: "getpost", profile: "getpost", does: "lets GET and POST through only", carried: ws},
	{name: "maxbody", profile: "maxbody=20000 noupgrade", does: "413 to bodies over 20,000 bytes", carried: longpoll, fails: onlyWS("status 426")},
	{name: "maxbody without a status", profile: "maxbody=20000 maxbodymute noupgrade", does: "resets on bodies over 20,000 bytes", carried: longpoll, fails: onlyWS("status 426")},
	{name: "auth", profile: "auth=ann:secret", way: forward, does: "407 until somebody logs in", fails: all("status 407")},
	{name: "inflight", profile: "inflight=1 noupgrade", does: "lets one exchange through at a time", carried: longpoll, fails: onlyWS("status 426")},

	{name: "dup", profile: "dup noupgrade", does: "sends every request twice, the second answer wins", carried: longpoll, fails: onlyWS("status 426")},
	{name: "dup, late", profile: "dup dupdelay=2s noupgrade", does: "sends a copy of every request 2 s later", carried: longpoll, fails: onlyWS("status 426")},
	{name: "dup, very late", profile: "dup dupdelay=3m noupgrade", does: "the same 3 min later, when the session may be over", carried: longpoll, fails: onlyWS("status 426")},
	{name: "loseresp", profile: "loseresp=3 noupgrade", does: "delivers every 3rd request and answers it with 502", carried: longpoll, fails: onlyWS("status ")},
	{name: "inject", profile: "inject=2", does: "answers every 2nd request with a login page, status 200"},
	{name: "inject always", profile: "inject=1", does: "answers every request with a login page", fails: all("Log in to the network")},
	{name: "stale", profile: "stale=3 noupgrade", does: "answers every 3rd request with the answer before", carried: longpoll, fails: onlyWS("status 426")},
	{name: "late", profile: "lateevery=3 late=8s noupgrade", does: "delivers every 3rd request 8 s late, whether its client waits or not", carried: longpoll, fails: onlyWS("status 426")},
	{name: "rewrite", profile: "rewrite=503 noupgrade", does: "puts pages in place of statuses that are not 200", carried: longpoll, fails: onlyWS("status 503")},
	{name: "reorder", profile: "reorder=2s noupgrade", does: "holds every 2nd request until a later one has gone", carried: longpoll, fails: onlyWS("status 426")},
	{name: "dup, with upgrades", profile: "dup", does: "sends every request twice, and lets WebSockets through", carried: ws},
	{name: "dup, late, with upgrades", profile: "dup dupdelay=2s", does: "the same 2 s later", carried: ws},
	{name: "reorder, with upgrades", profile: "reorder=2s", does: "holds every 2nd request, and lets WebSockets through", carried: ws},
	{name: "linger", profile: "linger", does: "does not tell the bridge when a client gives up", carried: ws},
	{name: "nocontinue", profile: "nocontinue", does: "swallows 100-continue", carried: ws},
	{name: "strip", profile: "strip=Pollbridge,Cache-Control,X-Content-Type-Options", does: "removes headers, our marker among them", carried: ws},
	{name: "replace", profile: "replace=Content-Type:text/html", does: "calls everything text/html", carried: ws, fails: map[string]string{longpoll: "status"}},

	{name: "rechunk", profile: "rechunk=500", does: "cuts bytes into other pieces", carried: ws},
	{name: "rechunk, no upgrade", profile: "rechunk=100 noupgrade", does: "the same, and no WebSocket", carried: longpoll, fails: onlyWS("status 426")},
	{name: "delay", profile: "delay=300ms jitter=200ms", does: "a satellite: 0.6 to 1 s there and back", carried: ws},
	{name: "delay, no upgrade", profile: "delay=300ms jitter=200ms noupgrade", does: "the same, and no WebSocket", carried: longpoll, fails: onlyWS("status 426")},
	{name: "rate", profile: "rate=32000", does: "32 kB a second on each connection", carried: ws},
	{name: "all at once, office", profile: "buffer noupgrade cut=1s loseresp=7 maxbody=50000 delay=50ms strip=Pollbridge", way: inspected, does: "many of these at once", carried: longpoll, fails: onlyWS("status ")},
	{name: "all at once, mobile", profile: "idledrop=800ms killafter=80000 delay=150ms jitter=100ms dup dupdelay=1s", does: "the same for a phone on the move"},
}

// needs says with which choices of transports a behaviour must strike. Those
// missing here go with others, or this client never provokes them.
var needs = map[string][]string{
	"buffer": polls, "bufbytes": polls, "onebehind": polls, "http10": polls,
	"cut": anyway, "idledrop": anyway, "blackhole": anyway, "killafter": {ws},
	"noupgrade": sockets, "fakeupgrade": sockets, "muteupgrade": sockets,
	"auth": anyway, "inject": polls, "dup": polls, "loseresp": polls, "stale": {longpoll}, "lateevery": {longpoll},
	"reorder": polls, "maxbody": {longpoll}, "inflight": {longpoll}, "strip": polls, "replace": polls,
	"rechunk": anyway, "delay": anyway, "jitter": anyway, "rate": anyway,
}

var (
	anyway  = []string{automatic, longpoll, ws}
	polls   = []string{automatic, longpoll}
	sockets = []string{automatic, ws}
)
