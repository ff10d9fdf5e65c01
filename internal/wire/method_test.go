package wire_test

import (
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/pollbridge/pollbridge/internal/wire"
)

func TestSplitMethod(t *testing.T) {
	for in, want := range map[string][2]string{
		"/a.B/C":          {"a.B", "C"},
		"/B/C":            {"B", "C"},
		"/_a._b9.C_D/_E9": {"_a._b9.C_D", "_E9"},
	} {
		service, name, ok := wire.SplitMethod(in)
		if !ok || service != want[0] || name != want[1] {
			t.Errorf("%q: got %q, %q, %v", in, service, name, ok)
		}
	}
	// What a proxy that normalises paths, or a server that unescapes them, could
	// read as another method.
	for _, bad := range []string{
		"", "/", "//", "a.B/C", "/a.B", "/a.B/", "//C", "/a.B//C", "//a.B/C", "/a.B/C/",
		"/a.x/../b.S/M", "/a/b/C", "/../b.S/M", "/./b.S/M", "/b.S/.", "/b.S/..", "/b.S/./M",
		"/a.x%2f..%2fb.S/M", "/a%2eB/C", "/a.B/%43", "/a.B%2fC/D", `/a.B\C/D`, "/a.B;x=1/C", "/a.B/C;x", "/a.B/C?x", "/a.B/C#x",
		"/a..B/C", "/.a.B/C", "/a.B./C", "/./C", "/1a.B/C", "/a.B/1C", "/a.B/C.D", "/a-b.B/C", "/a.B/C-D", "/a.B/C:D", "/a~/C",
		"/a.B/C D", "/a.B/C ", " /a.B/C", "/a.B/\n", "/a.B/C\x00", "/a.B/é", "/é.B/C", "/a.B/C\r\nx: y", "/*/C", "/a.B/*",
	} {
		if service, name, ok := wire.SplitMethod(bad); ok || service != "" || name != "" {
			t.Errorf("%q: got %q, %q, %v", bad, service, name, ok)
		}
	}
}

func TestValidPrefixes(t *testing.T) {
	for _, good := range []string{"", "a", "a.", "a.B", "a.b_1.C"} {
		if !wire.ValidServicePrefix(good) || !wire.ValidMethodPrefix(good) {
			t.Errorf("%q is refused", good)
		}
	}
	for _, good := range []string{"a.B/", "a.B/C"} {
		if wire.ValidServicePrefix(good) || !wire.ValidMethodPrefix(good) {
			t.Errorf("%q: as a service %v, as a method %v", good, wire.ValidServicePrefix(good), wire.ValidMethodPrefix(good))
		}
	}
	for _, bad := range []string{".", "a..", ".a", "a..b", "1", "a/../b", "a./", "/", "/a", "a.B/1", "a.B/C/", "a b", "a%", "a*"} {
		if wire.ValidServicePrefix(bad) || wire.ValidMethodPrefix(bad) {
			t.Errorf("%q: as a service %v, as a method %v", bad, wire.ValidServicePrefix(bad), wire.ValidMethodPrefix(bad))
		}
	}
}

// FuzzSplitMethod: a name that is taken is a path that nothing on the way reads
// otherwise.
func FuzzSplitMethod(f *testing.F) {
	f.Add("/a.B/C")
	f.Add("/a.x/../b.S/M")
	f.Add("/a%2eB/C")
	f.Fuzz(func(t *testing.T, method string) {
		service, name, ok := wire.SplitMethod(method)
		if !ok {
			return
		}
		if "/"+service+"/"+name != method || strings.Contains(service, "/") {
			t.Fatalf("%q: got %q, %q", method, service, name)
		}
		u, err := url.Parse(method)
		if err != nil || u.Path != method || u.EscapedPath() != method || path.Clean(method) != method {
			t.Errorf("%q is not a plain path: %v, %v", method, u, err)
		}
		if !wire.ValidService(service) || !wire.ValidServicePrefix(service) || !wire.ValidMethodPrefix(service+"/"+name) {
			t.Errorf("%q: its own prefixes are refused", method)
		}
	})
}
