package longpoll_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/transporttest/fake"
	"github.com/pollbridge/pollbridge/transport"
	"github.com/pollbridge/pollbridge/transport/longpoll"
)

const bundleMagic = "\xb1\xd7\x01\x00"

// entry is one exchange as a bundle carries it.
type entry struct {
	session   byte // every byte of the ID
	retryable bool
	batch     string
}

func encodeBundle(hold time.Duration, entries ...entry) []byte {
	out := binary.BigEndian.AppendUint32([]byte(bundleMagic), uint32(hold.Milliseconds()))
	for _, r := range entries {
		out = append(out, bytes.Repeat([]byte{r.session}, 16)...)
		flags := byte(0)
		if r.retryable {
			flags = 1
		}
		out = append(out, flags)
		out = binary.BigEndian.AppendUint32(out, uint32(len(r.batch)))
		out = append(out, r.batch...)
	}
	return out
}

// answers reads a bundle's answers, by the place of their exchange.
func answers(t *testing.T, body []byte) map[int]string {
	t.Helper()
	rest, ours := bytes.CutPrefix(body, []byte(bundleMagic))
	if !ours {
		t.Fatalf("not a bundle: %q", body)
	}
	found := map[int]string{}
	for len(rest) > 0 {
		place, length := binary.BigEndian.Uint16(rest), binary.BigEndian.Uint32(rest[2:])
		found[int(place)] = string(rest[6 : 6+length])
		rest = rest[6+length:]
	}
	return found
}

// bundles is a BundleHandler with the acceptor behind it.
type bundles struct {
	*fake.Acceptor
	handler http.Handler
}

func newBundles() *bundles {
	acceptor := fake.New(1024)
	mux := http.NewServeMux()
	mux.Handle("/v1/{group}/bundle", longpoll.NewBundleHandler(acceptor, longpoll.Config{MaxBatch: maxBatch}))
	return &bundles{acceptor, mux}
}

// send posts a bundle; the channel gets its response.
func (b *bundles) send(group string, body []byte) <-chan *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/v1/"+group+"/bundle", bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/octet-stream")
	done := make(chan *httptest.ResponseRecorder, 1)
	go func() {
		w := httptest.NewRecorder()
		b.handler.ServeHTTP(w, r)
		done <- w
	}()
	return done
}

// links takes the n links of a bundle.
func (b *bundles) links(n int) []*fake.Link {
	links := make([]*fake.Link, n)
	for i := range links {
		links[i] = <-b.Links
	}
	return links
}

func want(t *testing.T, response <-chan *httptest.ResponseRecorder, want map[int]string) {
	t.Helper()
	w := <-response
	if got := answers(t, w.Body.Bytes()); w.Code != http.StatusOK || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("status %d, answers %v, want %v", w.Code, got, want)
	}
}

// TestBundle_firstAnswer holds that a bundle goes back with its first answer,
// to which those that are not retryable add theirs, and that its links are those of exchanges.
func TestBundle_firstAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBundles()
		response := b.send("g", encodeBundle(0, entry{1, true, "one"}, entry{2, true, "two"}, entry{3, false, "three"}))
		links := b.links(3)
		for i, l := range links {
			id := base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{byte(i + 1)}, 16))
			if h := l.Hello; h.Kind != transport.Longpoll || h.Session != id || string(h.Batch) != []string{"one", "two", "three"}[i] || h.Header == nil || h.RemoteAddr == "" || h.Group != "g" {
				t.Errorf("hello %+v", h)
			}
		}
		synctest.Wait()
		select {
		case <-response:
			t.Fatal("went back without an answer")
		default:
		}
		links[1].Say <- []byte("yes")
		want(t, response, map[int]string{1: "yes", 2: "now"})
		for _, l := range links {
			<-l.Closed
		}
	})
}

// TestBundle_release holds that a later bundle of the same group sends the
// earlier one back, after its own links were opened, and no other group's.
func TestBundle_release(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBundles()
		other := b.send("h", encodeBundle(0, entry{9, true, "other"}))
		otherLink := b.links(1)[0]
		first := b.send("g", encodeBundle(0, entry{1, true, "one"}, entry{2, false, "two"}))
		b.links(2)
		second := b.send("g", encodeBundle(0, entry{1, true, "one"}, entry{3, true, "three"}))
		want(t, first, map[int]string{1: "now"})
		links := b.links(2)
		synctest.Wait()
		select {
		case <-other:
			t.Fatal("another group's went back")
		case <-second:
			t.Fatal("the later one went back")
		default:
		}
		links[0].Say <- []byte("late")
		want(t, second, map[int]string{0: "late"})
		otherLink.Say <- []byte("mine")
		want(t, other, map[int]string{0: "mine"})
	})
}

// TestBundle_elsewhere holds that a bundle goes back when a later one of its group
// carries one of its exchanges, although that landed at another bridge.
func TestBundle_elsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBundles()
		response := b.send("g", encodeBundle(0, entry{1, true, "one"}, entry{2, false, "two"}, entry{3, true, "three"}))
		b.links(3)[0].End <- transport.ErrReplaced
		want(t, response, map[int]string{1: "now"})
	})
}

// TestBundle_hold holds that a bundle's hold sends it back.
func TestBundle_hold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBundles()
		start := time.Now()
		want(t, b.send("g", encodeBundle(2*time.Second, entry{1, true, "one"}, entry{2, false, "two"})), map[int]string{1: "now"})
		if took := time.Since(start); took != 2*time.Second {
			t.Errorf("held for %v", took)
		}
	})
}

// TestBundle_bad holds what a body gets that is no bundle: it opens no link.
func TestBundle_bad(t *testing.T) {
	whole := encodeBundle(0, entry{1, true, "batch"})
	for name, body := range map[string][]byte{
		"empty":            nil,
		"markup":           []byte("<!doctype html><title>Log in</title>"),
		"another version":  append([]byte("\xb1\xd7\x02\x00"), whole[4:]...),
		"cut in a head":    whole[:20],
		"cut in a batch":   whole[:len(whole)-1],
		"too many":         encodeBundle(0, make([]entry, 257)...),
		"over the limit":   encodeBundle(0, entry{1, true, strings.Repeat("x", 2*maxBatch)}),
		"a length of 2^32": append(encodeBundle(0)[:8], bytes.Repeat([]byte{0xff}, 40)...),
	} {
		b := newBundles()
		if w := <-b.send("g", body); w.Code != http.StatusBadRequest || len(b.Links) != 0 {
			t.Errorf("%s: status %d, %d links", name, w.Code, len(b.Links))
		}
	}
	b := newBundles()
	want(t, b.send("g", encodeBundle(time.Millisecond)), nil) // without an item
	b.Answer = answer
	want(t, b.send("g", encodeBundle(0, make([]entry, 1)...)), map[int]string{0: "batch 0 limit 0"})
}

// TestBundle_text holds that a bundle may come as text, and is answered so.
func TestBundle_text(t *testing.T) {
	acceptor := fake.New(1)
	acceptor.Answer = answer
	s := httptest.NewServer(longpoll.NewBundleHandler(acceptor, longpoll.Config{}))
	defer s.Close()
	body := base64.StdEncoding.EncodeToString(encodeBundle(0, entry{1, true, "batch"}))
	r, err := http.NewRequest(http.MethodPost, s.URL, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "text/plain")
	r.Header.Set("Origin", s.URL)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	response, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, response.Body))
	if err != nil {
		t.Fatal(err)
	}
	if got := answers(t, text); got[0] != "batch 5 limit 0" {
		t.Errorf("answers %v", got)
	}
}

// FuzzBundle holds that no body makes the handler panic, and that an answer
// names an item that was there.
func FuzzBundle(f *testing.F) {
	f.Add(encodeBundle(0, entry{1, true, "one"}, entry{2, false, ""}))
	f.Add([]byte("<html>"))
	b := newBundles()
	b.Answer = answer
	f.Fuzz(func(t *testing.T, body []byte) {
		w := <-b.send("g", body)
		n := len(b.Links)
		b.links(n)
		if w.Code == http.StatusOK && len(answers(t, w.Body.Bytes())) > n {
			t.Errorf("%d answers for %d exchanges", len(answers(t, w.Body.Bytes())), n)
		}
	})
}

// TestUnavailable: where a session cannot be reached an exchange gets 503, and so does
// a bundle that has nothing else to say.
func TestUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		acceptor := fake.New(1)
		mux := http.NewServeMux()
		mux.Handle("/v1/{sid}/poll", longpoll.New(acceptor, longpoll.Config{}))
		r := httptest.NewRequest(http.MethodPost, "/v1/"+strings.Repeat("A", 22)+"/poll", strings.NewReader("batch"))
		r.Header.Set("Content-Type", "application/octet-stream")
		go func() { (<-acceptor.Links).End <- transport.ErrUnavailable }()
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		if w.Code != http.StatusServiceUnavailable {
			t.Errorf("an exchange got status %d, want 503", w.Code)
		}

		b := newBundles()
		response := b.send("g", encodeBundle(0, entry{1, true, "one"}, entry{2, true, "two"}))
		for _, l := range b.links(2) {
			l.End <- transport.ErrUnavailable
		}
		if w := <-response; w.Code != http.StatusServiceUnavailable {
			t.Errorf("a bundle of which nothing can be reached got status %d, want 503", w.Code)
		}
		response = b.send("g", encodeBundle(0, entry{1, true, "one"}, entry{2, true, "two"}))
		links := b.links(2)
		links[0].End <- transport.ErrUnavailable
		synctest.Wait()
		links[1].Say <- []byte("yes")
		want(t, response, map[int]string{1: "yes"})
	})
}
