package e2e_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"text/template"
	"time"
)

// settings are what the files under proxies/ are filled with.
type settings struct {
	Dir      string // the proxy's own folder
	Port     int    // where it listens
	Upstream string // host:port of the bridge behind a reverse proxy
	TLSPort  string // port of the bridge in front of which a forward proxy stands
	SquidLib string
	Seconds  int    // it waits for the bridge's answer, where that is less than usual
	Site     string // nginx: what is in http {}
}

// nextPort is below those that the system assigns to connections, so that none
// is taken between being found free and being used.
var nextPort atomic.Int32

func freePort(t *testing.T, hosts ...string) int {
	t.Helper()
	nextPort.CompareAndSwap(0, 20_000+int32(os.Getpid()%10_000))
	for range 1000 {
		port := int(nextPort.Add(1))
		if free(port, hosts) {
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

func free(port int, hosts []string) bool {
	for _, host := range hosts {
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			return false
		}
		l.Close()
	}
	return true
}

// ownDir makes a folder that a proxy which gives up root can write to.
func ownDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "proxy") //nolint:usetesting // t.TempDir is inside a folder that is root's alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, os.RemoveAll(dir)) })
	check(t, os.Chmod(dir, 0o755))
	return dir
}

// fill fills one of the files under proxies/.
func fill(t *testing.T, name string, s settings) string {
	t.Helper()
	all, err := template.ParseGlob("proxies/*")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := all.ExecuteTemplate(&out, name, s); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The kinds of proxy: each makes a command of a configuration.

func squid(t *testing.T, name string, s settings) *exec.Cmd {
	s.SquidLib = "/usr/lib/squid"
	file := write(t, filepath.Join(s.Dir, "conf"), fill(t, name+".conf", s))
	if name == "squid-bump" {
		write(t, filepath.Join(s.Dir, "ca.pem"), newSigner(t))
		run(t, filepath.Join(s.SquidLib, "security_file_certgen"), "-c", "-s", filepath.Join(s.Dir, "certificates"), "-M", "4MB")
	}
	if os.Getuid() == 0 {
		giveTo(t, "proxy", s.Dir)
	}
	return exec.Command("squid", "-N", "-f", file, "-n", "test"+strconv.Itoa(s.Port))
}

func tinyproxy(t *testing.T, name string, s settings) *exec.Cmd {
	return exec.Command("tinyproxy", "-d", "-c", write(t, filepath.Join(s.Dir, "conf"), fill(t, name+".conf", s)))
}

func mitmproxy(_ *testing.T, _ string, s settings) *exec.Cmd {
	return exec.Command("mitmdump", "-q", "--listen-host", "127.0.0.1", "--listen-port", strconv.Itoa(s.Port), "--ssl-insecure", "--set", "confdir="+s.Dir)
}

func nginx(t *testing.T, name string, s settings) *exec.Cmd {
	if s.Site == "" {
		s.Site = fill(t, name+".conf", s)
	}
	file := write(t, filepath.Join(s.Dir, "conf"), fill(t, "nginx.conf", s))
	return exec.Command("nginx", "-p", s.Dir, "-c", file, "-e", filepath.Join(s.Dir, "log"))
}

func haproxy(t *testing.T, name string, s settings) *exec.Cmd {
	if s.Site == "" {
		s.Site = fill(t, name+".cfg", s)
	}
	return exec.Command("haproxy", "-db", "-f", write(t, filepath.Join(s.Dir, "conf"), s.Site))
}

// run runs a command to its end.
func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// giveTo makes a folder with all in it somebody's.
func giveTo(t *testing.T, name, dir string) {
	t.Helper()
	somebody, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(somebody.Uid) // a number on every Unix
	gid, _ := strconv.Atoi(somebody.Gid)
	err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Chown(path, uid, gid))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// newSigner makes a CA: its certificate and its key.
func newSigner(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test of interception"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	cert, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	check(t, pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: cert}))
	check(t, pem.Encode(&out, &pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	return out.String()
}

// startProxy runs a proxy until the test ends, and returns when it listens.
func startProxy(t *testing.T, cmd *exec.Cmd, s settings) {
	t.Helper()
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = &log, &log, s.Dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // its exit code after a signal does not matter
		close(ended)
	}()
	t.Cleanup(func() {
		stop(cmd, ended)
		if t.Failed() {
			own, _ := os.ReadFile(filepath.Join(s.Dir, "log")) // not each has one
			t.Logf("%s:\n%s\n%s", cmd.Path, log.Bytes(), own[max(0, len(own)-4000):])
		}
	})
	for {
		conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)))
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-ended:
			t.Fatalf("%s ended before it listened", cmd.Path)
		case <-t.Context().Done():
			t.Fatalf("%s does not listen", cmd.Path)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stopLimit is how long a proxy may take to end in order.
const stopLimit = 3 * time.Second

func stop(cmd *exec.Cmd, ended chan struct{}) {
	_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-ended:
	case <-time.After(stopLimit):
		_ = cmd.Process.Kill() // the same
		<-ended
	}
}
