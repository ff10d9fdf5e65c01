package client_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pollbridge/pollbridge/client"
)

// TestHostHeader: a Host among the headers is what requests and handshakes bear,
// and a redirect is named with where it leads.
func TestHostHeader(t *testing.T) {
	hosts := make(chan string, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hosts <- r.Host
		http.Redirect(w, r, "https://login.example/here", http.StatusFound)
	}))
	defer server.Close()
	carrier, closeAll, err := client.NewCarrier(server.URL, client.Config{Header: http.Header{"Host": {"inner.example"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll()
	_, pollErr := carrier.Exchange(t.Context(), "AAAAAAAAAAAAAAAAAAAAAA", []byte("x"))
	_, dialErr := carrier.Dial(t.Context(), "AAAAAAAAAAAAAAAAAAAAAA")
	for name, err := range map[string]error{"exchange": pollErr, "handshake": dialErr} {
		if got := <-hosts; got != "inner.example" {
			t.Errorf("Host %q", got)
		}
		if err == nil || !strings.Contains(err.Error(), "302") || !strings.Contains(err.Error(), `redirect to "https://login.example/here"`) {
			t.Errorf("%s: %v does not name the redirect", name, err)
		}
	}
}
