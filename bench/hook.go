package main

import (
	"encoding/json"
	"net"
	"net/http"
	_ "net/http/pprof" // profiles, at /debug/pprof
	"os"
	"runtime"
	"runtime/debug"
)

// A process that finds BENCH_SOCKET in its environment answers questions about
// itself there. This file is built into this program and, by an overlay, into
// the bridge that is measured, and so must not share a name with cmd/bridge.
func init() {
	path := os.Getenv("BENCH_SOCKET")
	if path == "" {
		return
	}
	lis, err := net.Listen("unix", path)
	if err != nil {
		panic(err)
	}
	http.HandleFunc("/usage", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("collect") != "" {
			runtime.GC() // clears pools; the next one frees what they held
			debug.FreeOSMemory()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		_ = json.NewEncoder(w).Encode(map[string]uint64{ // the parent is gone, then
			"Mallocs": m.Mallocs, "Heap": m.HeapInuse, "Stacks": m.StackInuse, "Goroutines": uint64(runtime.NumGoroutine()),
		})
	})
	go func() { _ = http.Serve(lis, nil) }() // until the process ends
}
