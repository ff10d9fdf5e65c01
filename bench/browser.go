package main

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"time"
)

// Scenarios in a browser.
const (
	browserStream = "server stream in Chromium, messages of 100 bytes"
	firstAnswer   = "first answer of a page's first call, 50 ms away"
)

// Names of ways in a browser; ws and longpoll are the others.
const (
	connectWeb = "connect-web by connect-go"
	grpcWeb    = "connect-web's gRPC-Web by grpcwebproxy"
	barePost   = "bare fetch POST, no gRPC"
)

const connectWebVersion = "2.2.0" // as in browser/package.json

// browserLab is a browser, and a page's origin with a bridge.
type browserLab struct {
	*lab
	site   *process
	driver *process
}

func newBrowserLab(ctx context.Context, cfg config) (*browserLab, error) {
	l, err := newLab(ctx, cfg)
	b := &browserLab{lab: l}
	if err != nil {
		return b, err
	}
	return b, b.startBrowser(ctx)
}

func (b *browserLab) startBrowser(ctx context.Context) error {
	scripts, err := b.cfg.bundle(ctx)
	if err != nil {
		return err
	}
	if b.site, err = b.role(ctx, "site", b.backend.addr, scripts); err != nil {
		return err
	}
	b.driver, err = b.start(ctx, "browser", nil, "node", "browser/driver.js")
	return err
}

// bundle builds the page's script, with the tree's JavaScript client, and
// returns the folder that it is in.
func (c config) bundle(ctx context.Context) (string, error) {
	if _, err := os.Stat("browser/node_modules"); err != nil {
		if err := command(ctx, "browser", nil, "npm", "ci", "--no-audit", "--no-fund"); err != nil {
			return "", err
		}
	}
	own, err := filepath.Abs("browser")
	if err != nil {
		return "", err
	}
	// All in one folder, so that the client finds the same packages as the page.
	source, scripts := filepath.Join(c.dir, "browser"), filepath.Join(c.dir, "scripts")
	errs := []error{os.MkdirAll(source, 0o755)}
	for name, target := range map[string]string{
		"page.js": own, "bench_pb.js": own, "node_modules": own, "src": filepath.Join(c.tree, "jsclient"),
	} {
		link := filepath.Join(source, name)
		_ = os.Remove(link) // of a measurement before
		errs = append(errs, os.Symlink(filepath.Join(target, name), link))
	}
	if err := errors.Join(errs...); err != nil {
		return "", err
	}
	return scripts, command(ctx, c.tree, nil, "go", "tool", "-modfile=tools/go.mod", "esbuild", filepath.Join(source, "page.js"),
		"--bundle", "--minify", "--banner:js=//# allFunctionsCalledOnLoad", "--splitting", "--format=esm", "--target=es2022",
		"--preserve-symlinks", "--log-level=warning", "--outdir="+scripts)
}

// ask is what the browser's driver is to do: see browser/driver.js.
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
	Warmup int64  `json:"warmup,omitempty"`
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

// measureBrowser measures what a page receives.
func measureBrowser(ctx context.Context, cfg config) (*section, error) {
	s := &section{title: "In the browser"}
	b, err := newBrowserLab(ctx, cfg)
	defer b.close()
	if err != nil {
		return s, err
	}
	kinds, hops := map[string]string{ws: "ws", longpoll: "longpoll", connectWeb: "connect", grpcWeb: "grpcweb"}, map[string]*process{ws: b.site, longpoll: b.site}
	if !cfg.ownOnly {
		if hops[connectWeb], err = b.role(ctx, "connect", b.backend.addr); err != nil {
			s.note("connect-go: %v", err)
		}
		if hops[grpcWeb], err = b.grpcwebproxy(ctx); err != nil {
			s.note("grpcwebproxy: %v", err)
		}
	}
	var keys []key
	for _, name := range []string{ws, longpoll, connectWeb, grpcWeb} {
		if hops[name] != nil {
			keys = append(keys, key{browserStream, name})
		}
	}
	r := alternate(ctx, cfg, s, keys, func(k key) (sample, error) { return b.receive(k.way, kinds[k.way], hops[k.way]) })
	s.table(browserStream, "messages/s", "× connect-web", "main thread for each", "× connect-web")
	for _, k := range keys {
		s.row(k.way, figure(r.median(k, rate)), figure(r.ratio(k, connectWeb, rate)),
			micros(r.median(k, loadCPU)), figure(r.ratio(k, connectWeb, loadCPU)))
	}
	return s, nil
}

// leastWindow is how long a browser is measured at the least: its clocks and
// its compilers need some time.
const leastWindow = 400 * time.Millisecond

// receive takes one sample of a stream in the browser.
func (b *browserLab) receive(way, kind string, hop *process) (sample, error) {
	what := ask{
		What: "stream", Way: way, Page: "http://" + b.site.addr, Kind: kind, URL: "http://" + hop.addr,
		Bytes: 100, Millis: max(b.cfg.window, leastWindow).Milliseconds(),
	}
	if b.cfg.profiles != "" {
		what.File = b.cfg.profileOf(way, ".cpuprofile")
	}
	got, err := b.do(what)
	if err == nil && got.Messages == 0 {
		err = errors.New("no message came")
	}
	task := time.Duration(got.Task / math.Max(got.Messages, 1) * 1e9)
	return sample{rate: got.Messages / got.Seconds, load: task}, err
}

// A firstCall is a page's first call: how, and of which method.
type firstCall struct{ way, kind, method string }

var firstCalls = []firstCall{
	{barePost, "post", ""},
	{"Pollbridge, idempotent", "automatic", "read"},
	{"Pollbridge, other", "automatic", "unary"},
	{"Pollbridge longpoll, idempotent", "longpoll", "read"},
	{"Pollbridge longpoll, other", "longpoll", "unary"},
}

// measureFirst measures how soon a page has its first answer.
func measureFirst(ctx context.Context, cfg config) (*section, error) {
	s := &section{title: "First answer"}
	b, err := newBrowserLab(ctx, cfg)
	defer b.close()
	if err != nil {
		return s, err
	}
	far, err := b.middlebox(ctx, "127.0.0.1:0", b.site.addr, "25ms")
	if err != nil {
		return s, err
	}
	var keys []key
	calls := map[string]firstCall{}
	for _, c := range firstCalls {
		keys, calls[c.way] = append(keys, key{firstAnswer, c.way}), c
	}
	r := alternate(ctx, cfg, s, keys, func(k key) (sample, error) {
		c := calls[k.way]
		got, err := b.do(ask{What: "first", Page: "http://" + far.addr, Kind: c.kind, Method: c.method, Bytes: 100})
		return sample{p50: time.Duration(got.Millis * 1e6)}, err
	})
	s.table(firstAnswer, "time", "× bare fetch POST")
	for _, k := range keys {
		s.row(k.way, millis(r.median(k, p50)), figure(r.ratio(k, barePost, p50)))
		s.bench("first answer/"+k.way, r.median(k, p50)/1e6, "ms", r.ratio(k, barePost, p50), "x-POST")
	}
	return s, nil
}
