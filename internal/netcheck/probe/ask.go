package probe

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

	"github.com/pollbridge/pollbridge/internal/httpclient"
	"github.com/pollbridge/pollbridge/internal/netcheck"
)

// kind is how a request went.
type kind string

const (
	fine     kind = ""         // the bridge answered the request
	silent   kind = "silent"   // nothing came in time
	eof      kind = "eof"      // the HTTP connection was lost before an answer
	cut      kind = "cut"      // the connection or the answer ended in the middle
	foreign  kind = "foreign"  // an error status that is not the bridge's
	page     kind = "page"     // status 200, and not from the bridge
	short    kind = "short"    // status 200 and an empty body
	stale    kind = "stale"    // the answer to another request
	declined kind = "declined" // the bridge says why it does not answer
	nowhere  kind = "nowhere"  // no connection could be made
)

const (
	askLimit    = 10 * time.Second
	slowestRate = 8 << 10 // bytes per second; below it a body has failed
	maxExcerpt  = 80      // bytes of a foreign answer that a report shows
	contentType = "application/octet-stream"
)

// reply is how one request went.
type reply struct {
	kind    kind
	status  int
	proto   string
	header  http.Header
	tls     *tls.ConnectionState
	answer  netcheck.Answer
	payload []byte
	sent    int // bytes of the request's body
	got     int // bytes of the answer's
	took    time.Duration
	n       int
	excerpt string // of a foreign answer
	err     error
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(data []byte) uint32 { return crc32.Checksum(data, castagnoli) }

// request is a request of a check.
type request struct {
	ask     netcheck.Ask
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
		out.kind = silent
	}
	return out
}

func (r *runner) post(ctx context.Context, route, kind string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.base+"/v1/check/"+route, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header, req.Host = r.header.Clone(), r.header.Get("Host") // net/http takes Host from there
	if kind == "" {
		kind = contentType
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set("Accept-Encoding", "gzip") // as browsers have it
	return r.requests.Do(req)
}

// failure returns how a request without an answer failed.
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
		return silent
	}
	return eof
}

// refusedTunnel makes a proxy's answer to CONNECT the reply.
func (p *reply) refusedTunnel() {
	if answer, ok := errors.AsType[*httpclient.AnswerError](p.err); ok {
		p.status, p.kind, p.excerpt = answer.Status, foreign, excerpt(answer.Body)
	}
}

// read reads an answer and judges it.
func (p *reply) read(resp *http.Response, ask netcheck.Ask) {
	p.status, p.proto, p.header, p.tls = resp.StatusCode, resp.Proto, resp.Header, resp.TLS
	body, err := readBody(resp, ask.Down+netcheck.MaxAsks<<6)
	p.got = len(body)
	line, payload, whole := bytes.Cut(body, []byte{'\n'})
	parsed := json.Unmarshal(line, &p.answer) == nil && whole
	wanted := resp.StatusCode == max(ask.Status, http.StatusOK)
	switch {
	case parsed && p.answer.Error != "":
		p.kind, p.err = declined, errors.New(p.answer.Error)
	case parsed && p.answer.Run == ask.Run && p.answer.N == ask.N && wanted:
		p.payload = payload
		if err != nil || len(payload) != ask.Down {
			p.kind, p.err = cut, err
		}
	case parsed && p.answer.Run != "":
		p.kind = stale
	case resp.StatusCode != http.StatusOK:
		p.kind, p.excerpt = foreign, excerpt(body)
	case looksCut(body, ask, err):
		p.kind, p.err = cut, err
	case len(body) == 0:
		p.kind = short
	default:
		p.kind, p.excerpt = page, excerpt(body)
	}
}

// looksCut reports whether a body begins as an answer of ours does.
func looksCut(body []byte, ask netcheck.Ask, err error) bool {
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

// plain returns an answer's body without the compression of a proxy.
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

// excerpt returns the beginning of a page's text, without its tags.
func excerpt(body []byte) string {
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
	return text[:min(len(text), maxExcerpt)]
}

// tries makes a request up to so many times, until it is fine or declined. It
// returns the last reply.
func (r *runner) tries(ctx context.Context, times int, q request) *reply {
	var last *reply
	for range times {
		if last = r.send(ctx, q); last.kind == fine || last.kind == declined || ctx.Err() != nil {
			break
		}
	}
	return last
}

// record asks for the bridge's record of the run.
func (r *runner) record(ctx context.Context) (*netcheck.Record, bool) {
	p := r.tries(ctx, 4, request{ask: netcheck.Ask{Record: true}})
	return p.answer.Record, p.kind == fine && p.answer.Record != nil
}

// problem returns an error as people read it, without the URL.
func problem(err error) string {
	if err == nil {
		return "unknown"
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	return err.Error()
}
