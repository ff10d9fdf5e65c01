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
