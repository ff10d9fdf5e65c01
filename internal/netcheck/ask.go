package netcheck

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// kind is how a request went.
type kind string

const (
	fine    kind = ""        // the bridge answered what was asked
	mute    kind = "mute"    // nothing came in time
	eof     kind = "eof"     // the HTTP connection was lost before an answer
	cut     kind = "cut"     // it was lost, or the answer ended, in the middle
	status  kind = "status"  // a status that the bridge did not give
	page    kind = "page"    // status 200, and not from the bridge
	short   kind = "short"   // status 200, and nothing in it
	stale   kind = "stale"   // the answer to another request
	told    kind = "told"    // the bridge says why not
	nowhere kind = "nowhere" // no connection could be made
)

const (
	askLimit    = 10 * time.Second
	slowestRate = 8 << 10 // bytes a second: below it a body has failed
	maxGlimpse  = 80
	contentType = "application/octet-stream"
)

// reply is how one request went.
type reply struct {
	kind    kind
	status  int
	proto   string
	header  http.Header
	tls     *tls.ConnectionState
	answer  Answer
	payload []byte
	sent    int // bytes of the request's body
	got     int // bytes of the answer's
	took    time.Duration
	n       int
	glimpse string // of a foreign answer
	err     error
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// request is one that a check makes.
type request struct {
	ask     Ask
	payload []byte
	kind    string        // Content-Type; default octet-stream
	limit   time.Duration // beside the hold and the bodies; default askLimit
}

// send makes one request.
func (r *runner) send(ctx context.Context, q request) *reply {
	q.ask.Run, q.ask.N = r.id, r.number()
	line, err := json.Marshal(q.ask)
	if err != nil {
		return &reply{kind: nowhere, err: err}
	}
	body := append(append(line, '\n'), q.payload...)
	if q.limit == 0 {
		q.limit = askLimit
	}
	limit := q.limit + time.Duration(q.ask.HoldMillis)*time.Millisecond +
		time.Duration(len(body)+q.ask.Down)*time.Second/slowestRate
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	out := &reply{n: q.ask.N, sent: len(body)}
	start := time.Now()
	resp, err := r.post(ctx, "echo", q.kind, body)
	if err != nil {
		out.err, out.kind, out.took = err, failure(ctx, err), time.Since(start)
		out.refusedTunnel()
		return out
	}
	defer resp.Body.Close()
	out.read(resp, q.ask)
	out.took = time.Since(start)
	if out.kind == cut && ctx.Err() != nil {
		out.kind = mute
	}
	return out
}

func (r *runner) post(ctx context.Context, route, kind string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.cfg.URL+"/v1/check/"+route, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header = r.cfg.Header.Clone()
	if kind == "" {
		kind = contentType
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set("Accept-Encoding", "gzip") // as browsers have it
	return r.cfg.Requests.Do(req)
}

// failure says how a request failed that got no answer.
func failure(ctx context.Context, err error) kind {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return nowhere
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return nowhere
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return nowhere
	}
	if ctx.Err() != nil {
		return mute
	}
	return eof
}

// foreign is an error that knows an intermediary's status, as a proxy's answer
// to CONNECT.
type foreign interface {
	error
	Seen() (status int, body []byte)
}

func (p *reply) refusedTunnel() {
	if seen, ok := errors.AsType[foreign](p.err); ok {
		var body []byte
		p.status, body = seen.Seen()
		p.kind, p.glimpse = status, glimpse(body)
	}
}

// read takes in an answer.
func (p *reply) read(resp *http.Response, ask Ask) {
	p.status, p.proto, p.header, p.tls = resp.StatusCode, resp.Proto, resp.Header, resp.TLS
	body, err := readBody(resp, ask.Down+MaxAsks<<6)
	p.got = len(body)
	line, payload, whole := bytes.Cut(body, []byte{'\n'})
	parsed := json.Unmarshal(line, &p.answer) == nil && whole
	wanted := resp.StatusCode == max(ask.Status, http.StatusOK)
	switch {
	case parsed && p.answer.Error != "":
		p.kind, p.err = told, errors.New(p.answer.Error)
	case parsed && p.answer.Run == ask.Run && p.answer.N == ask.N && wanted:
		p.payload = payload
		if err != nil || len(payload) != ask.Down {
			p.kind, p.err = cut, err
		}
	case parsed && p.answer.Run != "":
		p.kind = stale
	case resp.StatusCode != http.StatusOK:
		p.kind, p.glimpse = status, glimpse(body)
	case looksCut(body, ask, err):
		p.kind, p.err = cut, err
	case len(body) == 0:
		p.kind = short
	default:
		p.kind, p.glimpse = page, glimpse(body)
	}
}

// looksCut tells that a body began as an answer of ours does.
func looksCut(body []byte, ask Ask, err error) bool {
	begins := fmt.Sprintf(`{"run":%q,`, ask.Run)
	return err != nil || len(body) > 0 && strings.HasPrefix(begins, string(body[:min(len(body), len(begins))]))
}

func readBody(resp *http.Response, limit int) ([]byte, error) {
	from, err := plain(resp)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(from, int64(limit)+64<<10))
}

// plain is an answer's body, without the compression that a proxy gave it.
func plain(resp *http.Response) (io.ReadCloser, error) {
	if resp.Header.Get("Content-Encoding") != "gzip" {
		return resp.Body, nil
	}
	z, err := gzip.NewReader(resp.Body)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{z, resp.Body}, nil
}

// glimpse is the beginning of what a page says, without its tags.
func glimpse(body []byte) string {
	var words []string
	for part := range strings.SplitSeq(string(body[:min(len(body), 512)]), "<") {
		if _, text, tagged := strings.Cut(part, ">"); tagged {
			part = text
		}
		if part = strings.TrimSpace(part); part != "" && !strings.HasPrefix(part, "!") {
			words = append(words, strings.ToValidUTF8(part, "?"))
		}
		if len(words) == 1 {
			break
		}
	}
	text := strings.Join(words, " ")
	return text[:min(len(text), maxGlimpse)]
}

// tries makes a request until it is fine, up to so many times. It returns the
// last reply, with a kind only if all failed.
func (r *runner) tries(ctx context.Context, times int, q request) *reply {
	var last *reply
	for range times {
		if last = r.send(ctx, q); last.kind == fine || last.kind == told || ctx.Err() != nil {
			break
		}
	}
	return last
}

// record asks what the bridge has seen of the run.
func (r *runner) record(ctx context.Context) (*Record, bool) {
	p := r.tries(ctx, 4, request{ask: Ask{Record: true}})
	return p.answer.Record, p.kind == fine && p.answer.Record != nil
}

// problem is an error as people read it, without the URL.
func problem(err error) string {
	if err == nil {
		return "no reason was given"
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	return err.Error()
}
