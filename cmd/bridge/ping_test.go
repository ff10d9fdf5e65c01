package main

import (
	"net"
	"regexp"
	"testing"

	"github.com/pollbridge/pollbridge/internal/auth/oidctest"
)

// TestPing holds what a health check of a container sees.
func TestPing(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	plain := start(t, "serve", "--listen", "127.0.0.1:0", "--backend", nowhere) // a backend that is down is no matter of the bridge's health
	locked := startJWT(t, oidctest.New(t))
	for _, test := range []struct {
		url         string
		out, errOut string
		code        int
	}{
		{plain.url, `^ok, \d+m?s\n$`, `^$`, 0},
		{locked.url, `^ok, \d+m?s; it asks for a credential\n$`, `^$`, 0},
		{plain.url + "/elsewhere", `^$`, `^bridge check: pollbridge: unreachable: the bridge at .* is not there: .*404`, exitFailed},
		{"http://" + closed.Addr().String(), `^$`, `^bridge check: no session within 5s: .*connection refused`, exitFailed},
		{"ftp://x", `^$`, `^bridge check: URL "ftp://x": scheme "ftp" is none of`, exitUsage},
	} {
		t.Run(test.url, func(t *testing.T) {
			t.Parallel() // two of them wait
			stdout, stderr, code := runOnce(t, "", "check", test.url, "--ping")
			if code != test.code || !regexp.MustCompile(test.out).MatchString(stdout) || !regexp.MustCompile(test.errOut).MatchString(stderr) {
				t.Errorf("exit code %d, standard output %q, standard error %q", code, stdout, stderr)
			}
		})
	}
}
