package backend

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"

	"google.golang.org/grpc/credentials"
)

// TLS is TLS towards a backend. Its files are read at every handshake, so a
// renewed certificate takes effect with the next one.
type TLS struct {
	// CAFile holds the certificates, in PEM, that may sign the backend's.
	// Default: the system's.
	CAFile string
	// ServerName is the name that the backend's certificate must bear.
	// Default: the target's host.
	ServerName string
	// CertFile and KeyFile are the bridge's own certificate and key, in PEM,
	// for backends that ask for one. Both or neither.
	CertFile string
	KeyFile  string
}

// config reads the files and returns the configuration.
func (t TLS) config() (*tls.Config, error) {
	cfg := &tls.Config{ServerName: t.ServerName, MinVersion: tls.VersionTLS12}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, &FieldError{"TLS.CAFile", err}
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, &FieldError{"TLS.CAFile", fmt.Errorf("no certificate in %s", t.CAFile)}
		}
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		return nil, &FieldError{"TLS.KeyFile", errors.New("certificate and key go together")}
	}
	if t.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, &FieldError{"TLS.CertFile", err}
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	return cfg, nil
}

// fileCredentials are TLS credentials that read their files for each handshake.
type fileCredentials struct {
	credentials.TransportCredentials
	tls TLS
}

func newFileCredentials(t TLS) (credentials.TransportCredentials, error) {
	cfg, err := t.config()
	if err != nil {
		return nil, err
	}
	return fileCredentials{credentials.NewTLS(cfg), t}, nil
}

func (c fileCredentials) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	cfg, err := c.tls.config()
	if err != nil {
		return nil, nil, err
	}
	return credentials.NewTLS(cfg).ClientHandshake(ctx, authority, conn)
}

func (c fileCredentials) Clone() credentials.TransportCredentials {
	return fileCredentials{c.TransportCredentials.Clone(), c.tls}
}
