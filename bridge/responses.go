package bridge

import (
	"bufio"
	"net"
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// statuses are the HTTP status codes that the bridge's handlers answer with, and
// those that Connect has for gRPC's.
var statuses = []int{
	http.StatusSwitchingProtocols, http.StatusOK, http.StatusNoContent, http.StatusNotModified, http.StatusBadRequest, http.StatusUnauthorized,
	http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusRequestTimeout, http.StatusConflict, http.StatusRequestEntityTooLarge,
	http.StatusUnsupportedMediaType, http.StatusUpgradeRequired, http.StatusTooManyRequests, statusClientClosedRequest,
	http.StatusInternalServerError, http.StatusNotImplemented, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
}

// statusClientClosedRequest is nginx's, and Connect's for CANCELLED.
const statusClientClosedRequest = 499

// Values of the label "code" that are no status: a status that is not listed; no
// answer, because the client was gone or too slow.
const (
	otherStatus = "other"
	noAnswer    = "none"
)

// responses counts answers to HTTP requests.
type responses struct {
	all     *prometheus.CounterVec
	by      map[int]prometheus.Counter
	other   prometheus.Counter
	aborted prometheus.Counter
}

func newResponses() *responses {
	all := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "pollbridge_http_responses_total", Help: "Answers to HTTP requests, by status code.",
	}, []string{"code"})
	r := &responses{all: all, by: make(map[int]prometheus.Counter), other: all.WithLabelValues(otherStatus), aborted: all.WithLabelValues(noAnswer)}
	for _, status := range statuses {
		r.by[status] = all.WithLabelValues(strconv.Itoa(status))
	}
	return r
}

func (r *responses) count(status int) {
	if counter := r.by[status]; counter != nil {
		counter.Inc()
		return
	}
	r.other.Inc()
}

// counted is h with its answers counted.
func (r *responses) counted(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		counting := &countingWriter{ResponseWriter: w, to: r}
		returned := false
		defer func() { // a handler that gives a request up panics
			if !counting.done && !returned {
				r.aborted.Inc()
			}
		}()
		h.ServeHTTP(counting, req)
		returned = true
		counting.answered(http.StatusOK)
	})
}

// countingWriter counts the answer that goes through it.
type countingWriter struct {
	http.ResponseWriter
	to   *responses
	done bool
}

func (w *countingWriter) answered(status int) {
	informational := status < http.StatusOK && status != http.StatusSwitchingProtocols
	if !w.done && !informational {
		w.done = true
		w.to.count(status)
	}
}

// Unwrap is for http.ResponseController.
func (w *countingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w *countingWriter) WriteHeader(status int) {
	w.answered(status)
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *countingWriter) Write(p []byte) (int, error) {
	w.answered(http.StatusOK)
	return w.ResponseWriter.Write(p)
}

// Hijack implements http.Hijacker. A connection that is taken without an answer is
// a poll's that is parked: it gets a 200, or its client leaves.
func (w *countingWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.answered(http.StatusOK)
	}
	return conn, rw, err
}
