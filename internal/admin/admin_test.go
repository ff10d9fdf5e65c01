package admin_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/admin"
)

const token = "0123456789abcdef"

// source is a bridge with sessions of the test's own.
type source struct {
	mu       sync.Mutex
	sessions []admin.Session
	ended    []admin.Ended
	gone     []string // what was disconnected
}

// end takes away all sessions but the first so many.
func (s *source) end(left int, ended ...admin.Ended) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions, s.ended = s.sessions[:left], ended
}

func (s *source) Overview() admin.Overview {
	s.mu.Lock()
	defer s.mu.Unlock()
	return admin.Overview{Version: "test", Sessions: admin.Level{Value: int64(len(s.sessions)), Limit: 100}}
}

func (s *source) Sessions(q admin.Query) admin.Sessions {
	s.mu.Lock()
	defer s.mu.Unlock()
	page := admin.NewSelection(q)
	for _, session := range s.sessions {
		page.Add(session)
	}
	return page.Sessions()
}

func (s *source) Session(id string) (admin.SessionDetails, *admin.Ended, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, session := range s.sessions {
		if session.ID == id {
			return admin.SessionDetails{Session: session}, nil, true
		}
	}
	for _, e := range s.ended {
		if e.ID == id {
			return admin.SessionDetails{}, &e, false
		}
	}
	return admin.SessionDetails{}, nil, false
}

func (s *source) Disconnect(id string) bool {
	if _, _, ok := s.Session(id); !ok {
		return false
	}
	s.gone = append(s.gone, id)
	return true
}

func sessions(n int) []admin.Session {
	var list []admin.Session
	for i := range n {
		list = append(list, admin.Session{
			ID: fmt.Sprintf("id%05d", i), Principal: fmt.Sprintf("user%d", i%7), Remote: "192.0.2.1", Client: "test/1", Opened: time.Unix(int64(i), 0),
			Transport: admin.Transports[i%3], RTT: float64(i%13) / 1000, RPCs: i % 5, Buffered: i * 3 % 101,
		})
	}
	return list
}

func newHandler(cfg admin.Config) *admin.Handler {
	if cfg.Source == nil {
		cfg.Source = &source{}
	}
	cfg.Logger = slog.New(slog.DiscardHandler)
	return admin.New(cfg)
}

// ask sends a request with the given headers.
func ask(h http.Handler, method, path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://localhost:9090"+path, http.NoBody)
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		} else {
			r.Header.Set(header[i], header[i+1])
		}
	}
	local := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9090}
	r = r.WithContext(withLocal(r, local))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// Only who has the token may act, and whoever may not is told why. Pages of other
// origins, by whatever name, may do nothing.
func TestAccess(t *testing.T) {
	const bearer = "Bearer " + token
	for _, tt := range []struct {
		name, token, method, path string
		header                    []string
		status                    int
		text                      string
	}{
		{"no token is wanted to look", "", "GET", "/api/v1/overview", nil, 200, `"version":"test"`},
		{"nobody may act without one", "", "DELETE", "/api/v1/sessions/id00001", nil, 403, "disconnect is not possible here: start the bridge with --admin-token-file"},
		{"nobody may drain without one", "", "POST", "/api/v1/drain", nil, 403, "drain is not possible here"},
		{"whatever token is sent", "", "POST", "/api/v1/drain", []string{"Authorization", bearer}, 403, "drain is not possible here"},

		{"looking", token, "GET", "/api/v1/sessions", []string{"Authorization", bearer}, 200, `"total":3`},
		{"looking at one", token, "GET", "/api/v1/sessions/id00001", []string{"Authorization", "bearer  " + token + " "}, 200, `"id":"id00001"`},
		{"acting", token, "DELETE", "/api/v1/sessions/id00001", []string{"Authorization", bearer}, 204, ""},
		{"draining", token, "POST", "/api/v1/drain", []string{"Authorization", bearer}, 202, ""},
		{"by the page", token, "POST", "/api/v1/drain", []string{"Authorization", bearer, "Sec-Fetch-Site", "same-origin", "Origin", "http://localhost:9090"}, 202, ""},

		{"no token", token, "GET", "/api/v1/overview", nil, 401, "want the admin token as Authorization: Bearer TOKEN"},
		{"wrong token", token, "POST", "/api/v1/drain", []string{"Authorization", "Bearer 0123456789abcdeF"}, 401, "want the admin token"},
		{"part of the token", token, "POST", "/api/v1/drain", []string{"Authorization", "Bearer 0123456789abcde"}, 401, "want the admin token"},
		{"empty token", token, "POST", "/api/v1/drain", []string{"Authorization", "Bearer "}, 401, "want the admin token"},
		{"another scheme", token, "POST", "/api/v1/drain", []string{"Authorization", "Basic " + token}, 401, "want the admin token"},
		{"in a cookie", token, "POST", "/api/v1/drain", []string{"Cookie", "token=" + token}, 401, "want the admin token"},
		{"in the URL", token, "POST", "/api/v1/drain?token=" + token, nil, 401, "want the admin token"},

		{"another site's page", token, "POST", "/api/v1/drain", []string{"Authorization", bearer, "Sec-Fetch-Site", "cross-site"}, 403, "pages of other origins"},
		{"another site's page, in an old browser", token, "POST", "/api/v1/drain", []string{"Authorization", bearer, "Origin", "http://evil.example"}, 403, "pages of other origins"},
		{"another port's page", token, "DELETE", "/api/v1/sessions/id00001", []string{"Authorization", bearer, "Sec-Fetch-Site", "same-site"}, 403, "pages of other origins"},
		{"another site's page that looks", "", "GET", "/api/v1/sessions", []string{"Sec-Fetch-Site", "cross-site"}, 403, "pages of other origins"},
		{"a name that leads here", "", "GET", "/api/v1/sessions", []string{"Host", "evil.example:9090", "Sec-Fetch-Site", "same-origin"}, 403, "the host must be a loopback name"},
		{"a name that leads here, with the token", token, "POST", "/api/v1/drain", []string{"Authorization", bearer, "Host", "evil.example:9090"}, 403, "the host must be a loopback name"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			drained := 0
			src := &source{sessions: sessions(3)}
			h := newHandler(admin.Config{Source: src, Token: tt.token, Drain: func() { drained++ }})
			w := ask(h, tt.method, tt.path, tt.header...)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.text) {
				t.Errorf("status %d, want %d; %s", w.Code, tt.status, w.Body)
			}
			if acted := drained + len(src.gone); acted != 0 != (tt.status == 202 || tt.status == 204) {
				t.Errorf("%d actions with status %d", acted, w.Code)
			}
			if challenge := w.Header().Get("WWW-Authenticate"); (challenge == "Bearer") != (w.Code == 401) {
				t.Errorf("WWW-Authenticate %q with status %d", challenge, w.Code)
			}
			if w.Header().Get("Access-Control-Allow-Origin") != "" || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("header %v", w.Header())
			}
		})
	}
}

// What the program does not offer is not offered.
func TestActions(t *testing.T) {
	for _, tt := range []struct {
		token string
		drain func()
		want  string
	}{
		{"", func() {}, `"actions":[]`},
		{token, nil, `"actions":["disconnect"]`},
		{token, func() {}, `"actions":["disconnect","drain"]`},
	} {
		h := newHandler(admin.Config{Token: tt.token, Drain: tt.drain})
		if w := ask(h, "GET", "/api/v1/overview", "Authorization", "Bearer "+token); !strings.Contains(w.Body.String(), tt.want) {
			t.Errorf("%s lacks %s", w.Body, tt.want)
		}
	}
	h := newHandler(admin.Config{Token: token})
	if w := ask(h, "POST", "/api/v1/drain", "Authorization", "Bearer "+token); w.Code != 403 || !strings.Contains(w.Body.String(), "does not offer it") {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
}

// A session that there is not, and one that is over.
func TestGone(t *testing.T) {
	src := &source{ended: []admin.Ended{{ID: "x", Reason: "expired", Message: "no connection for 2m0s"}}}
	h := newHandler(admin.Config{Source: src, Token: token})
	for _, method := range []string{"GET", "DELETE"} {
		if w := ask(h, method, "/api/v1/sessions/nobody", "Authorization", "Bearer "+token); w.Code != 404 || !strings.Contains(w.Body.String(), `no session \"nobody\"`) {
			t.Errorf("%s: status %d: %s", method, w.Code, w.Body)
		}
		w := ask(h, method, "/api/v1/sessions/x", "Authorization", "Bearer "+token)
		if w.Code != 410 || !strings.Contains(w.Body.String(), "session x is over: expired: no connection for 2m0s") || !strings.Contains(w.Body.String(), `"reason":"expired"`) {
			t.Errorf("%s: status %d: %s", method, w.Code, w.Body)
		}
	}
}

func TestQuery(t *testing.T) {
	h := newHandler(admin.Config{Source: &source{sessions: sessions(500)}})
	list := func(query string) (admin.Sessions, []string) {
		w := ask(h, "GET", "/api/v1/sessions?"+query)
		var got admin.Sessions
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 {
			t.Fatalf("%s: status %d, %s", query, w.Code, w.Body)
		}
		var ids []string
		for _, s := range got.Sessions {
			ids = append(ids, s.ID)
		}
		return got, ids
	}
	for _, tt := range []struct {
		query   string
		matched int
		ids     []string
	}{
		{"limit=3", 500, []string{"id00499", "id00498", "id00497"}},
		{"limit=2&offset=3", 500, []string{"id00496", "id00495"}},
		{"limit=2&offset=499", 500, []string{"id00000"}},
		{"limit=2&offset=600", 500, nil},
		{"limit=2&sort=age", 500, []string{"id00000", "id00001"}},
		{"limit=3&sort=buffered", 500, []string{"id00067", "id00168", "id00269"}}, // 3 n mod 101 = 100, then by ID
		{"limit=2&sort=rtt", 500, []string{"id00012", "id00025"}},
		{"limit=2&filter=USER3&sort=age", 71, []string{"id00003", "id00010"}},
		{"filter=id00042", 1, []string{"id00042"}},
		{"filter=nobody", 0, nil},
		{"transport=none&sort=age&limit=1", 166, []string{"id00002"}},
	} {
		got, ids := list(tt.query)
		if got.Total != 500 || got.Matched != tt.matched || !slices.Equal(ids, tt.ids) {
			t.Errorf("%s: %d of %d, %q; want %d, %q", tt.query, got.Matched, got.Total, ids, tt.matched, tt.ids)
		}
	}
	if _, ids := list(""); len(ids) != 100 {
		t.Errorf("%d sessions without a limit, want 100", len(ids))
	}
	for query, want := range map[string]string{
		"limit=0":        `limit \"0\" is wrong, want a number from 1 to 1000`,
		"limit=1001":     `limit \"1001\" is wrong`,
		"limit=x":        `limit \"x\" is wrong`,
		"offset=-1":      `offset \"-1\" is wrong, want a number from 0 to 10000`,
		"offset=10001":   `offset \"10001\" is wrong`,
		"sort=weight":    `sort \"weight\" is wrong, want newest, age, `,
		"transport=tcp":  `transport \"tcp\" is wrong, want ws, longpoll, none`,
		"transport=WS%0": `transport`, // malformed: not taken
	} {
		if w := ask(h, "GET", "/api/v1/sessions?"+query); w.Code != 400 && query != "transport=WS%0" || w.Code == 400 && !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: status %d, %s", query, w.Code, w.Body)
		}
	}
}

// A page of a hundred thousand sessions keeps no more than twice what it needs.
func TestSelection_bounded(t *testing.T) {
	page, all := admin.NewSelection(admin.Query{Limit: 10, Offset: 5, Sort: "age"}), sessions(20_000)
	slices.Reverse(all)
	for _, s := range all {
		page.Add(s)
	}
	last := all[0] // the youngest: beyond the page
	if n := testing.AllocsPerRun(999, func() { page.Add(last) }); n > 0 {
		t.Errorf("%v allocations for one more session", n)
	}
	got := page.Sessions()
	if got.Total != 21_000 || got.Matched != 21_000 || len(got.Sessions) != 10 || got.Sessions[0].ID != "id00005" || got.Sessions[9].ID != "id00014" {
		t.Errorf("%d of %d: %+v", got.Matched, got.Total, got.Sessions)
	}
}

// Events come each second, until there is nothing to tell or the bridge is over.
func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, over := &source{sessions: sessions(2)}, make(chan struct{})
		server := listen(t, newHandler(admin.Config{Source: src, Done: over}))
		one, all := server.events(t, "/api/v1/sessions/id00001"), server.events(t, "/api/v1/overview")
		for range 2 {
			if event, data := one.next(t); event != "message" || !strings.Contains(data, `"id":"id00001"`) {
				t.Fatalf("%s: %s", event, data)
			}
			all.next(t)
		}
		if took := time.Since(server.began); took != time.Second {
			t.Errorf("two events took %v, want 1s", took)
		}
		src.end(1, admin.Ended{ID: "id00001", Reason: "closed", Message: "closed by the client"})
		if event, data := one.next(t); event != "gone" || !strings.Contains(data, "session id00001 is over: closed: closed by the client") {
			t.Errorf("%s: %s", event, data)
		}
		one.ends(t)
		if _, data := all.next(t); !strings.Contains(data, `"sessions":{"value":1,`) {
			t.Error(data)
		}
		close(over)
		all.ends(t)
	})
}

// There are no more than 32 streams of events, and each that ends makes room.
func TestEvents_bounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		over := make(chan struct{})
		server := listen(t, newHandler(admin.Config{Done: over}))
		var open []*events
		for range 32 {
			open = append(open, server.events(t, "/api/v1/overview"))
		}
		response := server.get(t, "/api/v1/overview", "text/event-stream")
		if response.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("the 33rd: %s", response.Status)
		}
		response.Body.Close()
		response = server.get(t, "/api/v1/overview", "application/json")
		if response.StatusCode != http.StatusOK {
			t.Errorf("one document: %s", response.Status)
		}
		response.Body.Close()
		open[0].body.Close()
		synctest.Wait()
		server.events(t, "/api/v1/overview").body.Close()
		close(over)
		for _, e := range open[1:] {
			e.next(t)
			e.ends(t)
		}
	})
}

// events reads server-sent events.
type events struct {
	body interface{ Close() error }
	*bufio.Scanner
}

func (e *events) next(t *testing.T) (event, data string) {
	t.Helper()
	for e.Scan() && e.Text() != "" {
		if text, ok := strings.CutPrefix(e.Text(), "event: "); ok {
			event = text
		}
		if text, ok := strings.CutPrefix(e.Text(), "data: "); ok {
			data = text
		}
	}
	return event, data
}

func (e *events) ends(t *testing.T) {
	t.Helper()
	for e.Scan() {
		if strings.HasPrefix(e.Text(), "event: ") {
			t.Errorf("another event: %s", e.Text())
		}
	}
	e.body.Close()
}
