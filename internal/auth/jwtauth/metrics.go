package jwtauth

import "github.com/prometheus/client_golang/prometheus"

var (
	readsDesc = prometheus.NewDesc("pollbridge_jwks_reads_total", "Times that the issuer's keys were read, by result.", []string{"result"}, nil)
	keysDesc  = prometheus.NewDesc("pollbridge_jwks_keys", "The issuer's keys that can be used.", nil, nil)
	lastDesc  = prometheus.NewDesc("pollbridge_jwks_last_read_timestamp_seconds", "When the issuer's keys were last read; 0: never.", nil, nil)
)

// Describe implements prometheus.Collector.
func (a *Authenticator) Describe(out chan<- *prometheus.Desc) {
	out <- readsDesc
	out <- keysDesc
	out <- lastDesc
}

// Collect implements prometheus.Collector.
func (a *Authenticator) Collect(out chan<- prometheus.Metric) {
	counter := func(n uint64, result string) {
		out <- prometheus.MustNewConstMetric(readsDesc, prometheus.CounterValue, float64(n), result)
	}
	counter(a.keys.reads.Load(), "ok")
	counter(a.keys.failures.Load(), "failed")
	var size, last float64
	if set := a.keys.current.Load(); set != nil {
		size, last = float64(set.size), float64(set.read.UnixMilli())/1000
	}
	out <- prometheus.MustNewConstMetric(keysDesc, prometheus.GaugeValue, size)
	out <- prometheus.MustNewConstMetric(lastDesc, prometheus.GaugeValue, last)
}
