package httpclient_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/pollbridge/pollbridge/internal/httpclient"
)

func TestParseURL(t *testing.T) {
	for _, tt := range []struct {
		raw, base string
		secure    bool
	}{
		{"http://h:1", "http://h:1/bridge", false},
		{"https://h/", "https://h/bridge", true},
		{"ws://h/api/", "http://h/api", false},
		{"wss://[::1]:8443/a/b", "https://[::1]:8443/a/b", true},
		{"http://[fe80::1%25eth0]:8080", "http://[fe80::1%25eth0]:8080/bridge", false},
	} {
		got, err := httpclient.ParseURL(tt.raw)
		if err != nil || got.Base != tt.base || got.Secure != tt.secure {
			t.Errorf("%s: %s %v %v", tt.raw, got.Base, got.Secure, err)
		}
		if _, err := http.NewRequest(http.MethodGet, got.Base+"/v1/x/poll", http.NoBody); err != nil {
			t.Errorf("%s: no request can be made: %v", tt.raw, err)
		}
	}
	for raw, want := range map[string]string{
		"h:80":              "scheme",
		"ftp://h":           `scheme "ftp" is none of`,
		"http://":           "no host",
		"http://u:p@h":      "credentials",
		"http://h?x=1":      "query",
		"http://h/#x":       "fragment",
		"http://h/%zz":      "invalid URL escape",
		"/bridge":           "scheme",
		"http://h:port/abc": "invalid port",
	} {
		_, err := httpclient.ParseURL(raw)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v does not say %q", raw, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "u:p") {
			t.Errorf("%s: the error shows a password", raw)
		}
	}
}
