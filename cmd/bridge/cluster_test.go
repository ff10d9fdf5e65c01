package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/demo/demopb"
)

// authority signs certificates for NATS and its clients.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{}
	a.cert, a.key = signed(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil)
	a.file = writePEM(t, "ca.pem", "CERTIFICATE", a.cert.Raw)
	return a
}

// issue returns the files of a certificate for 127.0.0.1 and of its key.
func (a *authority) issue(t *testing.T) (cert, key string) {
	t.Helper()
	c, k := signed(t, &x509.Certificate{
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a)
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return writePEM(t, "cert.pem", "CERTIFICATE", c.Raw), writePEM(t, "key.pem", "PRIVATE KEY", der)
}

// signed completes a certificate and signs it, by itself without an authority.
func signed(t *testing.T, template *x509.Certificate, by *authority) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: "test"}
	template.NotAfter = time.Now().Add(time.Hour)
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func writePEM(t *testing.T, name, kind string, der []byte) string {
	t.Helper()
	return writeFile(t, name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func writeFile(t *testing.T, name string, data []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// secureNATS is a NATS server with TLS, which asks clients for certificates and for
// the JWTs of one account.
type secureNATS struct {
	url     string
	ca      *authority
	account nkeys.KeyPair
}

func startSecureNATS(t *testing.T) *secureNATS {
	t.Helper()
	s := &secureNATS{ca: newAuthority(t)}
	operator := must(nkeys.CreateOperator())(t)
	s.account = must(nkeys.CreateAccount())(t)
	account := must(s.account.PublicKey())(t)
	operatorJWT := must(jwt.NewOperatorClaims(must(operator.PublicKey())(t)).Encode(operator))(t)
	resolver := new(natsserver.MemAccResolver)
	if err := resolver.Store(account, must(jwt.NewAccountClaims(account).Encode(operator))(t)); err != nil {
		t.Fatal(err)
	}
	cert, key := s.ca.issue(t)
	pair := must(tls.LoadX509KeyPair(cert, key))(t)
	roots := x509.NewCertPool()
	roots.AddCert(s.ca.cert)
	server := must(natsserver.NewServer(&natsserver.Options{
		Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, NoLog: true, NoSigs: true,
		TLS: true, TLSVerify: true, TLSTimeout: 10,
		TLSConfig:        &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert},
		TrustedOperators: []*jwt.OperatorClaims{must(jwt.DecodeOperatorClaims(operatorJWT))(t)},
		AccountResolver:  resolver, AuthTimeout: 10,
	}))(t)
	server.Start()
	t.Cleanup(func() { server.Shutdown(); server.WaitForShutdown() })
	if !server.ReadyForConnections(10 * time.Second) {
		t.Fatal("NATS does not start")
	}
	s.url = strings.Replace(server.ClientURL(), "nats://", "tls://", 1)
	return s
}

// must fails the test for an error.
func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// creds returns the file of a user of the account who may use the subjects, all
// without any.
func (s *secureNATS) creds(t *testing.T, account nkeys.KeyPair, subjects ...string) string {
	t.Helper()
	user := must(nkeys.CreateUser())(t)
	claims := jwt.NewUserClaims(must(user.PublicKey())(t))
	claims.Pub.Allow.Add(subjects...)
	claims.Sub.Allow.Add(subjects...)
	token := must(claims.Encode(account))(t)
	return writeFile(t, "user.creds", must(jwt.FormatUserConfig(token, must(user.Seed())(t)))(t))
}

// TestDemo_cluster holds that demos in a cluster name the bridge
// where a request landed and the one that has the session.
func TestDemo_cluster(t *testing.T) {
	server := must(natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, NoLog: true, NoSigs: true}))(t)
	server.Start()
	t.Cleanup(func() { server.Shutdown(); server.WaitForShutdown() })
	first := start(t, "demo", "--listen", "127.0.0.1:0", "--cluster", server.ClientURL())
	second := start(t, "demo", "--listen", "localhost:0", "--cluster", server.ClientURL())
	var landed []string
	at := first
	channel := dial(t, first.url, client.Config{
		Transports: []string{"longpoll"},
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, strings.TrimPrefix(at.url, "http://"))
		},
	})
	for _, at = range []*process{first, second} {
		for range 3 {
			var header metadata.MD
			if _, err := demopb.NewDemoClient(channel).Greet(t.Context(), &demopb.GreetRequest{Name: "Ada"}, grpc.Header(&header)); err != nil {
				t.Fatal(err)
			}
			if got := header.Get("demo-bridge"); !slices.Equal(got, []string{"127.0.0.1:0"}) {
				t.Errorf("the session is at %q", got)
			}
		}
		resp, _ := get(t, http.DefaultClient, at.url+"/bridge/client.js")
		landed = append(landed, resp.Header.Get("Demo-Bridge"))
	}
	if want := []string{"127.0.0.1:0", "localhost:0"}; !slices.Equal(landed, want) {
		t.Errorf("requests landed at %q, want %q", landed, want)
	}
}

// TestCluster_secure holds that bridges join a cluster over TLS, with certificates
// and credentials, and the permissions that docs/OPERATIONS.md names; and that each
// thing that is wrong is told.
func TestCluster_secure(t *testing.T) {
	s := startSecureNATS(t)
	cert, key := s.ca.issue(t)
	serve := func(t *testing.T, name, ca, cert, key, creds string) *process {
		t.Helper()
		args := []string{"serve", "--listen", "127.0.0.1:0", "--backend", "127.0.0.1:1", "--cluster", s.url, "--cluster-name", name, "--cluster-ca", ca, "--cluster-creds", creds}
		if cert != "" {
			args = append(args, "--cluster-cert", cert, "--cluster-key", key)
		}
		return start(t, args...)
	}
	t.Run("joins", func(t *testing.T) {
		creds := s.creds(t, s.account, "pollbridge.NAME.>")
		first, second := serve(t, "NAME", s.ca.file, cert, key, creds), serve(t, "NAME", s.ca.file, cert, key, creds)
		for _, p := range []*process{first, second} {
			if line := p.err.await(t, "bridge joined"); !strings.Contains(line, "release=") {
				t.Errorf("got %q", line)
			}
		}
	})
	other := newAuthority(t)
	otherCert, otherKey := other.issue(t)
	for name, tt := range map[string]struct{ cluster, ca, cert, key, creds, want string }{
		"another authority":   {"NAME", other.file, cert, key, s.creds(t, s.account), "certificate signed by unknown authority"},
		"no certificate":      {"NAME", s.ca.file, "", "", s.creds(t, s.account), "tls"}, // TLS 1.3 tells it after the handshake, or just closes
		"another certificate": {"NAME", s.ca.file, otherCert, otherKey, s.creds(t, s.account), "tls"},
		"another account":     {"NAME", s.ca.file, cert, key, s.creds(t, must(nkeys.CreateAccount())(t)), "Authorization Violation"},
		"no permission":       {"NAME", s.ca.file, cert, key, s.creds(t, s.account, "pollbridge.OTHER.>"), `Permissions Violation for Subscription to \"pollbridge.NAME.`},
	} {
		t.Run(name, func(t *testing.T) {
			p := serve(t, tt.cluster, tt.ca, tt.cert, tt.key, tt.creds)
			if line := p.err.await(t, "NATS"); !strings.Contains(line, tt.want) {
				t.Errorf("got %q, want %q", line, tt.want)
			}
		})
	}
}
