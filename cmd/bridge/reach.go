package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"os"

	"github.com/spf13/pflag"

	"github.com/pollbridge/pollbridge/client"
)

// reach holds the flags of "check" and "call" about how to reach a bridge.
type reach struct {
	ca    string
	proxy string
}

func (r *reach) addFlags(set *pflag.FlagSet) {
	set.StringVar(&r.ca, "ca", "", "`FILE` of CA certificates in PEM for the bridge's certificate, instead of the system's")
	set.StringVar(&r.proxy, "proxy", "", "`URL` of a forward proxy: http, https or socks5 (default from HTTPS_PROXY, HTTP_PROXY and NO_PROXY)")
}

// config returns the client's configuration according to the flags.
func (r *reach) config() (client.Config, error) {
	cfg := client.Config{Proxy: http.ProxyFromEnvironment}
	if r.ca != "" {
		pem, err := os.ReadFile(r.ca)
		if err != nil {
			return cfg, &usageError{fmt.Errorf("--ca: %w", err)}
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return cfg, &usageError{fmt.Errorf("--ca: %s has no certificate in PEM", r.ca)}
		}
		cfg.TLS = &tls.Config{RootCAs: roots}
	}
	if r.proxy != "" {
		proxy, err := url.Parse(r.proxy)
		if err != nil || proxy.Host == "" {
			return cfg, &usageError{fmt.Errorf("--proxy: %q is wrong, want a URL such as http://proxy.example.com:3128", r.proxy)}
		}
		cfg.Proxy = http.ProxyURL(proxy)
	}
	return cfg, nil
}
