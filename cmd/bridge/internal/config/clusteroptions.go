package config

import (
	"net/url"
	"strings"

	"github.com/pollbridge/pollbridge/bridge"
)

// Cluster says how a bridge joins a cluster.
type Cluster struct {
	Servers               []string // URLs of NATS servers; none: the bridge is on its own
	Name                  string
	Creds                 string // file
	CA, CertFile, KeyFile string
}

func clustering() []*Option {
	const group = "Cluster"
	return []*Option{
		{
			Group: group, Name: "cluster", Value: "URL", Many: true,
			Help: "NATS server, such as nats://10.0.0.1:4222, over which bridges of one name take each other's requests; several separated by commas",
			set:  many(func(s *Settings) *[]string { return &s.Cluster.Servers }, natsURLs),
		}, {
			Group: group, Name: "cluster-name", Value: "NAME", Default: "default", needs: "cluster",
			Help: "name that the bridges of one cluster share",
			set:  one(func(s *Settings) *string { return &s.Cluster.Name }, clusterName),
		}, {
			Group: group, Name: "cluster-creds", Value: "FILE", needs: "cluster",
			Help: "credentials for NATS: a user's JWT and seed, as written by nsc",
			set:  one(func(s *Settings) *string { return &s.Cluster.Creds }, credentials),
		}, {
			Group: group, Name: "cluster-ca", Value: "FILE", needs: "cluster",
			Help: "certificate authorities in PEM that sign the certificates of the NATS servers; without it the system's",
			set:  one(func(s *Settings) *string { return &s.Cluster.CA }, file),
		}, {
			Group: group, Name: "cluster-cert", Value: "FILE", needs: "cluster",
			Help: "client certificate in PEM for the NATS servers",
			set:  one(func(s *Settings) *string { return &s.Cluster.CertFile }, file),
		}, {
			Group: group, Name: "cluster-key", Value: "FILE", needs: "cluster",
			Help: "private key of --cluster-cert in PEM",
			set:  one(func(s *Settings) *string { return &s.Cluster.KeyFile }, file),
		}, {
			Group: group, Name: "reuse-port", Switch: true, needs: "cluster",
			Help: "listen on ports beside other bridges of this machine that do the same: one that is started takes over when another is stopped",
			set:  one(func(s *Settings) *bool { return &s.ReusePort }, boolean),
		},
	}
}

func credentials(text string) (string, error) { return readable(text, "a file as written by nsc") }

func clusterName(text string) (string, error) {
	if !bridge.ValidClusterName(text) {
		return "", wrong(text, "1 to 64 letters, digits, - and _")
	}
	return text, nil
}

// natsURLs parses one URL, or several separated by commas.
func natsURLs(text string) (string, error) {
	for one := range strings.SplitSeq(text, ",") {
		u, err := url.Parse(strings.TrimSpace(one))
		if err != nil || u.Host == "" || u.Scheme != "nats" && u.Scheme != "tls" && u.Scheme != "ws" && u.Scheme != "wss" {
			return "", wrong(redact(text), "nats://HOST:PORT or tls://HOST:PORT")
		}
	}
	return text, nil
}
