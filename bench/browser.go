package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Scenarios of rows 17 and 18.
const (
	browserStream = "server stream in Chromium, messages received"
	firstAnswer   = "first answer in Chromium, a page's first call, 50 ms"
)

// Names of ways in a browser.
const (
	webWS            = "Pollbridge ws"
	webLongpoll      = "Pollbridge longpoll"
	connectWeb       = "connect-web by connect-go"
	grpcWeb          = "grpc-web by grpcwebproxy"
	grpcWebConnect   = "grpc-web by connect-go"
	connectWebServer = "connect-web by connect-go without a hop"
	barePage         = "bare fetch POST (no gRPC)"
)

// browserDir has what runs in the browser and what drives it, with the rivals
// that it needs.
const browserDir = "bench/rivals/browser"

// A browserWay is one way from a page to the backend.
type browserWay struct {
	name string
	kind string // as browserDir's page.js calls it
	hop  *process
}

// browserLab is a browser, and a page's origin with the bridge.
type browserLab struct {
	*lab
	site   *process // as bridge, with pages
	driver *process
}

// newBrowserLab starts what rows 17 and 18 need; with rivals where they are wanted.
func newBrowserLab(ctx context.Context, cfg config) (_ *browserLab, err error) {
	b := &browserLab{lab: &lab{}}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	if err := npmInstall(ctx, browserDir); err != nil {
		return nil, err
	}
	scripts := filepath.Join(cfg.cache, "page")
	if err := os.RemoveAll(scripts); err != nil {
		return nil, err
	}
	if err := runIn(ctx, ".", nil, "go", "tool", "-modfile=tools/go.mod", "esbuild", browserDir+"/page.js", "--bundle", "--minify", "--banner:js=//# allFunctionsCalledOnLoad",
		"--splitting", "--format=esm", "--target=es2022", "--preserve-symlinks", "--log-level=warning", "--outdir="+scripts); err != nil {
		return nil, err
	}
	if b.backend, err = b.role(ctx, nil, "backend", "-"); err != nil {
		return nil, err
	}
	if b.site, err = b.role(ctx, nil, "site", b.backend.addr, scripts); err != nil {
		return nil, err
	}
	if b.driver, err = startAsked(ctx, "browser", nil, "node", browserDir+"/driver.js"); err != nil {
		return nil, err
	}
	b.closers = append(b.closers, b.driver.close)
	return b, nil
}

// ask is what the browser's driver is to do: see browserDir's driver.js.
type ask struct {
	What   string `json:"what"`
	Way    string `json:"way,omitempty"`
	Page   string `json:"page,omitempty"`
	Kind   string `json:"kind,omitempty"`
	URL    string `json:"url,omitempty"`
	Method string `json:"method,omitempty"`
	File   string `json:"file,omitempty"`
	Bytes  int    `json:"bytes,omitempty"`
	Millis int64  `json:"millis,omitempty"`
}

// answered is what the driver found; each question fills in its part.
type answered struct {
	Error                   string
	Messages, Seconds, Task float64
	Millis                  float64
}

func (b *browserLab) do(what ask) (a answered, err error) {
	question, err := json.Marshal(what)
	if err == nil {
		err = b.driver.ask(string(question), &a)
	}
	if err == nil && a.Error != "" {
		err = errors.New(a.Error)
	}
	return a, err
}

// measureBrowser fills row 17.
func measureBrowser(ctx context.Context, cfg config) (*found, error) {
	b, err := newBrowserLab(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer b.close()
	if !cfg.ownOnly {
		b.addRivals(ctx, cfg, map[string]adder{"grpcwebproxy": b.addGRPCWebProxy, "connect-go": b.addConnect})
	}
	var keys []key
	ways := map[string]browserWay{}
	for _, w := range []browserWay{
		{webWS, "ws", b.site},
		{webLongpoll, "longpoll", b.site},
		{connectWeb, "connect", b.connect},
		{grpcWeb, "grpcweb", b.grpcwebproxy},
		{grpcWebConnect, "grpcweb", b.connect},
		{connectWebServer, "connect", b.connectServer},
	} {
		if w.hop != nil {
			keys, ways[w.name] = append(keys, key{browserStream, w.name}), w
		}
	}
	r := alternate(ctx, cfg, keys, func(k key) (sample, error) { return b.receive(cfg, ways[k.way]) })
	return &found{
		claims: browserClaims(r),
		tables: []string{browserTable(r, keys)},
		notes:  append(b.missing, r.notes()...),
	}, nil
}

// leastWindow is how long a browser is measured at the least: its clocks and
// its compilers need some time.
const leastWindow = 400 * time.Millisecond

// receive takes one sample of a stream in the browser.
func (b *browserLab) receive(cfg config, w browserWay) (sample, error) {
	what := ask{
		What: "stream", Way: w.name, Page: "http://" + b.site.addr, Kind: w.kind, URL: "http://" + w.hop.addr,
		Bytes: 100, Millis: max(cfg.window, leastWindow).Milliseconds(),
	}
	if cfg.profile != "" {
		what.File = filepath.Join(cfg.profile, strings.ReplaceAll(w.name, " ", "-")+".cpuprofile")
	}
	got, err := b.do(what)
	if err == nil && got.Messages == 0 {
		err = errNothing
	}
	if err != nil {
		return sample{}, err
	}
	task := time.Duration(got.Task / got.Messages * 1e9)
	return sample{rate: got.Messages / got.Seconds, client: perOperation{cpu: task}}, nil
}

func browserClaims(r *results) []claim {
	var claims []claim
	for _, rival := range []string{connectWeb, grpcWeb, grpcWebConnect} {
		claims = append(claims,
			atLeast(17, "ws: messages/s ÷ "+rival, r.ratio(browserStream, webWS, rival, rate), " ×", 1.5, 3),
			atMost(17, "ws: main-thread time per message ÷ "+rival, r.ratio(browserStream, webWS, rival, clientCPU), " ×", 1, none))
	}
	return append(claims,
		seen(17, "longpoll: messages/s ÷ "+connectWeb, r.ratio(browserStream, webLongpoll, connectWeb, rate), " ×"),
		seen(17, "longpoll: main-thread time per message ÷ "+connectWeb, r.ratio(browserStream, webLongpoll, connectWeb, clientCPU), " ×"),
		seen(17, "ws: messages/s ÷ "+connectWebServer, r.ratio(browserStream, webWS, connectWebServer, rate), " ×"))
}

// browserTable has all that was measured of row 17.
func browserTable(r *results, keys []key) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s | messages/s | × connect-web | main thread per message | × connect-web |\n", browserStream)
	fmt.Fprintln(&b, "|---|--:|--:|--:|--:|")
	for _, k := range keys {
		if len(r.samples[k]) == 0 {
			fmt.Fprintf(&b, "| %s | not measured | | | |\n", k.way)
			continue
		}
		fmt.Fprintf(&b, "| %s | %.0f | %s | %s | %s |\n", k.way,
			r.median(k.scenario, k.way, rate), figure(r.ratio(k.scenario, k.way, connectWeb, rate)),
			micros(r.median(k.scenario, k.way, clientCPU)), figure(r.ratio(k.scenario, k.way, connectWeb, clientCPU)))
	}
	return b.String()
}
