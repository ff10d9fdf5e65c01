package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestForeignClients calls a demo with the programs that people have.
func TestForeignClients(t *testing.T) {
	p := start(t, "demo", "--listen", "127.0.0.1:0")
	host := strings.TrimPrefix(p.url, "http://")
	const method = "pollbridge.demo.v1.Demo/"
	grpcurl := []string{"go", "tool", "-modfile=../../tools/go.mod", "grpcurl", "-plaintext", "-max-time", "10"}
	for name, tt := range map[string]struct {
		command []string
		want    string
	}{
		"curl":                {[]string{"curl", "-sS", "-d", `{"name":"Ada"}`, "-H", "content-type: application/json", p.url + "/" + method + "Greet"}, `{"greeting":"Hello,Ada!"}`},
		"curl with a mistake": {[]string{"curl", "-sS", "-d", `{}`, "-H", "content-type: application/json", p.url + "/" + method + "Greet"}, `{"code":"invalid_argument","message":"namelength:0isnotin1to100"}`},
		"curl over h2c":       {[]string{"curl", "-sS", "--http2-prior-knowledge", "-d", `{"name":"Ada"}`, "-H", "content-type: application/json", p.url + "/" + method + "Greet"}, `{"greeting":"Hello,Ada!"}`},
		"grpcurl":             {append(grpcurl, "-d", `{"to":3}`, host, method+"Count"), `{"number":1}{"number":2}{"number":3}`},
		"grpcurl, bidi":       {append(grpcurl, "-d", `{"text":"a"}{"text":"b"}`, host, method+"Echo"), `{"text":"a","number":"1"}{"text":"b","number":"2"}`},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := exec.LookPath(tt.command[0]); err != nil {
				t.Skip(err)
			}
			out, err := exec.CommandContext(t.Context(), tt.command[0], tt.command[1:]...).CombinedOutput()
			if got := strings.Join(strings.Fields(string(out)), ""); err != nil || got != tt.want {
				t.Errorf("got %s, %v; want %s", out, err, tt.want)
			}
		})
	}
}
