package middlebox

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"sync"
	"time"
)

const (
	certificateLife = 30 * 24 * time.Hour
	clockSkew       = time.Hour
)

// CA signs a certificate for any host: what a company's proxy does that looks
// into TLS. Clients must be told to trust it. Its key lives in memory only.
type CA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey // its own and every host's

	mu    sync.Mutex
	hosts map[string]*tls.Certificate
}

// NewCA makes a CA, valid for 30 days.
func NewCA() (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("middlebox: %w", err)
	}
	ca := &CA{key: key, hosts: make(map[string]*tls.Certificate)}
	template := template("Middlebox test CA")
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("middlebox: %w", err)
	}
	ca.cert, err = x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("middlebox: %w", err)
	}
	return ca, nil
}

func template(name string) *x509.Certificate {
	now := time.Now()
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)) // crypto/rand never fails
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-clockSkew),
		NotAfter:     now.Add(certificateLife),
	}
}

// PEM is the CA's certificate, for clients.
func (ca *CA) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})
}

// Pool holds the CA's certificate alone.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// For is the certificate for a host: a name or an IP address.
func (ca *CA) For(host string) (*tls.Certificate, error) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if known := ca.hosts[host]; known != nil {
		return known, nil
	}
	template := template(host)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, ca.key.Public(), ca.key)
	if err != nil {
		return nil, fmt.Errorf("middlebox: certificate for %q: %w", host, err)
	}
	made := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: ca.key}
	ca.hosts[host] = made
	return made, nil
}

// config is that of a server which poses as whoever the client asks for, or as
// host where it does not say.
func (ca *CA) config(host string) *tls.Config {
	return &tls.Config{
		NextProtos: []string{"http/1.1"},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if hello.ServerName != "" {
				return ca.For(hello.ServerName)
			}
			return ca.For(host)
		},
	}
}
