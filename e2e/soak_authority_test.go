package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// authority gives certificates for localhost, one after another, in the same two files.
type authority struct {
	cert, key, root string // files
	roots           *x509.CertPool

	template *x509.Certificate
	signer   *ecdsa.PrivateKey
	serial   int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	dir := t.TempDir()
	a := &authority{
		cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem"), root: filepath.Join(dir, "root.pem"), roots: x509.NewCertPool(),
		template: &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "soak"}, NotAfter: time.Now().Add(1000 * time.Hour), KeyUsage: x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true},
		signer:   newKey(t), serial: 1,
	}
	der, err := x509.CreateCertificate(rand.Reader, a.template, a.template, a.signer.Public(), a.signer)
	if err != nil {
		t.Fatal(err)
	}
	root := pemOf("CERTIFICATE", der)
	write(t, a.root, string(root))
	a.roots.AppendCertsFromPEM(root)
	a.renew(t)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// renew puts a new certificate and key in place, and returns its serial number.
func (a *authority) renew(t *testing.T) int64 {
	t.Helper()
	a.serial++
	key := newKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(a.serial), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}, NotAfter: a.template.NotAfter}
	cert, err := x509.CreateCertificate(rand.Reader, template, a.template, key.Public(), a.signer)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{a.cert: pemOf("CERTIFICATE", cert), a.key: pemOf("PRIVATE KEY", der)} {
		write(t, name+".new", string(text))
		check(t, os.Rename(name+".new", name))
	}
	return a.serial
}

// presented returns the serial number of the certificate that a bridge presents.
func (a *authority) presented(t *testing.T, addr string) int64 {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: a.roots, ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}
