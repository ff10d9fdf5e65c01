package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
)

// TestMemoryGoesBack holds that after a peak the system has its memory again, also
// with a collector that lets the heap grow.
func TestMemoryGoesBack(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(gcPercent))
	held := func() uint64 {
		samples := []metrics.Sample{{Name: "/memory/classes/heap/free:bytes"}}
		metrics.Read(samples)
		return samples[0].Value.Uint64()
	}
	const peak = 512 << 20
	pieces := make([][]byte, 0, peak>>16)
	for range cap(pieces) {
		pieces = append(pieces, make([]byte, 1<<16))
	}
	r := newReleaser()
	for range 2 {
		if r.look() {
			t.Error("memory was released that is in use")
		}
	}
	runtime.KeepAlive(pieces)
	runtime.GC() // which comes by itself every two minutes
	if held() < peak/2 {
		t.Skip("the runtime has released it by itself")
	}
	if r.look() {
		t.Error("released at the first look")
	}
	if !r.look() {
		t.Error("not released at the second look")
	}
	if now := held(); now > releaseLeast {
		t.Errorf("%d MiB are free and still held", now>>20)
	}
}

// TestPacer holds by how much a heap grows: five times while it is small, and by no
// more than may be buffered once it is large.
func TestPacer(t *testing.T) {
	p := &pacer{garbage: 1 << 30}
	for live, want := range map[uint64]int{0: 400, 10 << 20: 400, 256 << 20: 400, 512 << 20: 200, 1 << 30: 100, 8 << 30: 50} {
		if got := p.growth(live); got != want {
			t.Errorf("%d MiB alive: %d %%, want %d", live>>20, got, want)
		}
	}
}
