package e2e_test

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pollbridge/pollbridge/internal/demo"
)

const operations = "../docs/OPERATIONS.md"

// pair is two bridges, and a server with the page, at the addresses of the
// configurations in OPERATIONS.md, but in 127.0.0.0/8 and at other ports.
type pair struct {
	origins []*origin
	ports   *strings.Replacer
}

// Hosts of the pair, as in OPERATIONS.md but for the first three numbers.
const (
	network    = "127.0.0."
	pageHost   = network + "10"
	firstHost  = network + "11"
	secondHost = network + "12"
)

func newPair(t *testing.T) pair {
	public, admin := freePort(t, pageHost, firstHost, secondHost), freePort(t, firstHost, secondHost)
	both := pair{ports: movedPorts(public, admin)}
	for _, host := range []string{firstHost, secondHost} {
		o := newOrigin(t, net.JoinHostPort(host, strconv.Itoa(public)), false)
		serve(t, net.JoinHostPort(host, strconv.Itoa(admin)), o.bridge.AdminHandler(), false)
		both.origins = append(both.origins, o)
	}
	serve(t, net.JoinHostPort(pageHost, strconv.Itoa(public)), http.FileServerFS(demo.Page()), false)
	return both
}

// movedPorts replaces the addresses of OPERATIONS.md.
func movedPorts(public, admin int) *strings.Replacer {
	return strings.NewReplacer(
		"10.0.0.", network,
		":8080", ":"+strconv.Itoa(public),
		"port 9090", "port "+strconv.Itoa(admin),
	)
}

// check holds that each session has reached one bridge with all its requests.
func (p pair) check(t *testing.T) {
	upgraded := 0
	for sid, paths := range p.origins[0].sids {
		if p.origins[1].sids[sid] != nil {
			t.Errorf("session %s reached both bridges", sid)
		}
		if slices.Contains(paths, "poll") && slices.Contains(paths, "ws") {
			upgraded++
		}
	}
	for _, paths := range p.origins[1].sids {
		if slices.Contains(paths, "poll") && slices.Contains(paths, "ws") {
			upgraded++
		}
	}
	if upgraded < 2 {
		t.Errorf("%d sessions came with polls and a WebSocket, want 2", upgraded)
	}
}

// inDocs is the configuration in a language that OPERATIONS.md shows.
func inDocs(t *testing.T, language string) string {
	page, err := os.ReadFile(operations)
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(page), "```"+language+"\n")
	text, _, ended := strings.Cut(after, "```\n")
	if !found || !ended {
		t.Fatalf("%s shows no %s", operations, language)
	}
	return text
}

// replaceOnce replaces exactly one thing in a configuration.
func replaceOnce(t *testing.T, text, what, by string) string {
	if strings.Count(text, what) != 1 {
		t.Fatalf("not exactly one %q in\n%s", what, text)
	}
	return strings.Replace(text, what, by, 1)
}

// tunedNginx is what OPERATIONS.md shows: but for addresses, and where the page
// lies.
func tunedNginx(t *testing.T, s settings, both pair) string {
	page := filepath.Join(s.Dir, "page")
	check(t, os.CopyFS(page, demo.Page()))
	text := replaceOnce(t, both.ports.Replace(inDocs(t, "nginx")), "listen 80;", "listen 127.0.0.1:"+strconv.Itoa(s.Port)+";")
	return replaceOnce(t, text, "/srv/www", page)
}

// tunedHAProxy is what OPERATIONS.md shows, but for addresses.
func tunedHAProxy(t *testing.T, s settings, both pair) string {
	return replaceOnce(t, both.ports.Replace(inDocs(t, "haproxy")), "bind :80\n", "bind 127.0.0.1:"+strconv.Itoa(s.Port)+"\n")
}
