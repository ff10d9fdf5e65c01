package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coder/websocket"

	"github.com/pollbridge/pollbridge/bridge"
)

// roleArg is the first argument of a child; its role and the role's arguments
// follow.
const roleArg = "role"

func isRole(args []string) bool { return len(args) > 2 && args[1] == roleArg }

// requests counts what the bridge and the bare servers were asked.
var requests atomic.Uint64

// runRole is a child's main.
func runRole(role string, args []string) {
	switch role {
	case "beside":
		runBeside(args[0], args[1])
	case "others":
		runOthers(args[0])
	default:
		serveRole(role, args)
	}
}

// serveRole is a server's main: it prints its address, then answers the
// questions on its stdin until that ends.
func serveRole(role string, args []string) {
	if rate := os.Getenv("BENCH_MEMPROFILERATE"); rate != "" {
		runtime.MemProfileRate, _ = strconv.Atoi(rate)
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		err = serve(lis, role, args)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %s: %v\n", role, err)
		os.Exit(1)
	}
	fmt.Println(lis.Addr())
	answers := json.NewEncoder(os.Stdout)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		_ = answers.Encode(answer(lines.Text())) // the parent is gone: so is stdin
	}
}

func serve(lis net.Listener, role string, args []string) error {
	switch role {
	case "backend":
		go newBackend().Serve(lis)
		return nil
	case "proxy":
		return serveProxy(lis, args[0])
	case "bridge":
		return serveBridge(lis, args)
	case "site":
		return serveSite(lis, args[0], args[1])
	case "bare":
		serveHTTP(lis, http.HandlerFunc(bare))
		return nil
	}
	return fmt.Errorf("no such role")
}

// answer carries out one question.
func answer(question string) any {
	command, arg, _ := strings.Cut(question, " ")
	switch command {
	case "collect":
		runtime.GC()
		runtime.GC() // what finalizers and pools let go of
		debug.FreeOSMemory()
	case "profile": // of CPU, into a file, until the next profile
		pprof.StopCPUProfile()
		if arg != "" {
			if f, err := os.Create(arg); err == nil {
				_ = pprof.StartCPUProfile(f)
			}
		}
	case "lookup": // a profile of another kind into a file: KIND=FILE
		kind, file, _ := strings.Cut(arg, "=")
		if f, err := os.Create(file); err == nil {
			_ = pprof.Lookup(kind).WriteTo(f, 0)
			_ = f.Close()
		}
	}
	return ownUsage()
}

func ownUsage() usage {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r) // cannot fail
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u := usage{
		CPU: time.Duration(r.Utime.Nano() + r.Stime.Nano()), Mallocs: m.Mallocs,
		Requests: requests.Load(), Goroutines: runtime.NumGoroutine(),
		Heap: int(m.HeapInuse), Stacks: int(m.StackInuse),
	}
	u.RSS, u.PeakRSS, _ = residentMemory(os.Getpid())
	return u
}

// serveBridge serves as `bridge serve` does. args: the backend, and a
// certificate's and key's file for TLS.
func serveBridge(lis net.Listener, args []string) error {
	server, err := newBridge(args[0])
	if err != nil {
		return err
	}
	s := newHTTPServer(server)
	server.ParkPolls(s)
	go func() { // until the process ends
		if len(args) < 3 {
			_ = s.Serve(lis)
		} else {
			_ = s.ServeTLS(lis, args[1], args[2])
		}
	}()
	return nil
}

func newBridge(backend string) (*bridge.Server, error) {
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(400)
	}
	return bridge.New(bridge.Config{
		Backends:    []bridge.Backend{{Target: backend}},
		AllowHosts:  []string{farAddr},
		MaxSessions: 100_000, MaxSessionsPerPrincipal: 100_000,
	})
}

// serveSite serves a page with its scripts beside a bridge and an echo of POSTs.
func serveSite(lis net.Listener, backend, scripts string) error {
	server, err := newBridge(backend)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `<!DOCTYPE html><link rel="icon" href="data:,"><script type="module" src="/page.js"></script>`)
	})
	mux.Handle("/", http.FileServer(http.Dir(scripts)))
	mux.HandleFunc("POST /echo", bare)
	mux.Handle("/bridge/", server)
	serveHTTP(lis, mux)
	return nil
}

func serveHTTP(lis net.Listener, h http.Handler) {
	s := newHTTPServer(h)
	go func() { _ = s.Serve(lis) }() // until the process ends
}

func newHTTPServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			requests.Add(1)
			h.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
	}
}

// bare echoes POSTs and WebSocket messages with nothing between: the floor
// that the libraries set.
func bare(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			_, _ = w.Write(body)
		}
		return
	}
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer c.CloseNow()
	for {
		kind, message, err := c.Read(r.Context())
		if err != nil {
			return
		}
		if err := c.Write(r.Context(), kind, message); err != nil {
			return
		}
	}
}
