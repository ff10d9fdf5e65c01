package backend_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/pollbridge/pollbridge/internal/backend"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// authority signs certificates for a test.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.key = a.newKey()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der := a.sign(template, template, &a.key.PublicKey)
	a.cert, _ = x509.ParseCertificate(der)
	a.write("ca.pem", "CERTIFICATE", der)
	return a
}

func (a *authority) newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	return key
}

func (a *authority) sign(template, parent *x509.Certificate, key *ecdsa.PublicKey) []byte {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return der
}

func (a *authority) write(name, kind string, der []byte) string {
	file := filepath.Join(a.dir, name)
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return file
}

// issue writes NAME.pem and NAME.key for 127.0.0.1 and the DNS name NAME.
func (a *authority) issue(name string) (certFile, keyFile string) {
	key := a.newKey()
	der := a.sign(&x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotAfter: time.Now().Add(time.Hour), DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, &key.PublicKey)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return a.write(name+".pem", "CERTIFICATE", der), a.write(name+".key", "PRIVATE KEY", keyDER)
}

func (a *authority) server(clientAuth tls.ClientAuthType) grpc.ServerOption {
	cert, err := tls.LoadX509KeyPair(a.issue("server"))
	if err != nil {
		a.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: clientAuth, ClientCAs: pool}))
}

func (a *authority) ca() string { return filepath.Join(a.dir, "ca.pem") }

func TestTLS(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	srv := listen(t, "", a.server(tls.NoClientCert))
	for want, config := range map[string]backend.TLS{
		"":                   {CAFile: a.ca()},
		" ":                  {CAFile: a.ca(), ServerName: "server"},
		"unknown authority":  {CAFile: stranger.ca()},
		"another name":       {CAFile: a.ca(), ServerName: "someone"},
		"unknown authority ": {},
	} {
		cfg := backend.Config{Target: srv.Addr, TLS: &config}
		if want = strings.TrimSpace(want); want == "" {
			echo(t, newPool(t, cfg), backend.CallOptions{})
			continue
		}
		cfg.ReadyTimeout = time.Millisecond
		p := newPool(t, cfg)
		p.WaitFailed()
		_, err := p.Start(t.Context(), echopb.Echo_Unary_FullMethodName, nil, backend.CallOptions{})
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q", config, err, want)
		}
	}
}

// TestTLS_clientCertificate: a backend that wants a certificate refuses the
// stranger's, and takes the one that replaces it, with no restart.
func TestTLS_clientCertificate(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	srv := listen(t, "", a.server(tls.RequireAndVerifyClientCert))
	cert, key := stranger.issue("client")
	p := newPool(t, backend.Config{Target: srv.Addr, TLS: &backend.TLS{CAFile: a.ca(), CertFile: cert, KeyFile: key}})
	p.WaitFailed()
	goodCert, goodKey := a.issue("client")
	for from, to := range map[string]string{goodCert: cert, goodKey: key} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	p.WaitReady()
	echo(t, p, backend.CallOptions{})
}

// TestTLS_newCA: a backend of an unknown authority is trusted once the CA file
// names that, with no restart.
func TestTLS_newCA(t *testing.T) {
	a, old := newAuthority(t), newAuthority(t)
	srv := listen(t, "", a.server(tls.NoClientCert))
	p := newPool(t, backend.Config{Target: srv.Addr, TLS: &backend.TLS{CAFile: old.ca()}})
	p.WaitFailed()
	if err := os.Rename(a.ca(), old.ca()); err != nil {
		t.Fatal(err)
	}
	p.WaitReady()
	echo(t, p, backend.CallOptions{})
}

func TestTLS_badFiles(t *testing.T) {
	a := newAuthority(t)
	cert, _ := a.issue("client")
	for _, tt := range []struct {
		config backend.TLS
		want   string
	}{
		{backend.TLS{CAFile: cert + ".none"}, cert + ".none"},
		{backend.TLS{CAFile: filepath.Join(a.dir, "client.key")}, "no certificate"},
		{backend.TLS{CertFile: cert}, "go together"},
		{backend.TLS{CertFile: cert, KeyFile: cert}, "TLS.CertFile: tls"},
	} {
		p, err := backend.New(filled(backend.Config{Target: "127.0.0.1:1", TLS: &tt.config}))
		if err == nil {
			p.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want %q", err, tt.want)
		}
	}
}
