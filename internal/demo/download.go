package demo

import (
	"crypto/rand"
	"fmt"
	"iter"
	"net/http"
	"strconv"
	"sync"
)

const chunkSize = 32 << 10

// random is what downloads are made of, over and over.
var random = sync.OnceValue(func() []byte {
	data := make([]byte, chunkSize)
	_, _ = rand.Read(data) // never fails
	return data
})

// chunks yields so many bytes, chunkSize at a time. They are shared: only to be read.
func chunks(total int) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for ; total > 0; total -= chunkSize {
			if !yield(random()[:min(total, chunkSize)]) {
				return
			}
		}
	}
}

// Download returns a handler that answers with as many random bytes as the query's
// "bytes" says, as the RPC of that name sends them: what the page compares that
// RPC with. It answers 400 where the number is not within that RPC's limits.
func Download() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		total, err := strconv.Atoi(r.URL.Query().Get("bytes"))
		if err != nil || total < 1 || total > maxDownload {
			http.Error(w, fmt.Sprintf("bytes: want a number in 1 to %d", maxDownload), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", strconv.Itoa(total))
		w.Header().Set("Cache-Control", "no-store")
		for chunk := range chunks(total) {
			if _, err := w.Write(chunk); err != nil {
				return // the client has left
			}
		}
	})
}
