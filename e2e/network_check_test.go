package e2e_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/middlebox"
	"github.com/pollbridge/pollbridge/internal/netcheck"
	"github.com/pollbridge/pollbridge/internal/netcheck/probe"
	"github.com/pollbridge/pollbridge/internal/transporttest"
)

// profiles are what "bridge check" finds in each network of the matrix. Clean are
// those that leave alone what it looks at: what carries sessions, and what cuts
// them. TestCheck_browser holds what a page finds beside.
var profiles = map[string]string{
	"clean":                    "clean",
	"clean forward":            "clean",
	"clean tunnel":             "clean",
	"inspected":                "inspected",
	"buffer":                   "clean",
	"buffer, no upgrade":       "inspected no-upgrade",
	"bufbytes":                 "clean",
	"onebehind":                "clean",
	"gzip":                     "compressed",
	"http10":                   "http10",
	"http10, broken":           "http10 no-upgrade answers-cut",
	"cache":                    "clean",
	"cut 504":                  "cut-status",
	"cut eof":                  "cut-eof",
	"cut short":                "cut-short",
	"cut 504, no upgrade":      "inspected no-upgrade cut-status",
	"idledrop":                 "idle-forgotten",
	"idledrop, no upgrade":     "no-upgrade idle-forgotten",
	"blackhole late":           "age-forgotten",
	"blackhole":                "blackhole",
	"killafter, early":         "websocket-breaks answers-cut",
	"killafter":                "answers-cut",
	"killafter, no upgrade":    "no-upgrade answers-cut",
	"noupgrade":                "no-upgrade",
	"fakeupgrade":              "websocket-mute",
	"muteupgrade":              "websocket-swallowed",
	"noconnect":                "websocket-refused",
	"noconnect, https":         "refused",
	"getpost":                  "no-preflight",
	"maxbody":                  "no-upgrade body-limit",
	"maxbody without a status": "no-upgrade body-limit-mute",
	"auth":                     "login",
	"inflight":                 "no-upgrade one-at-a-time",
	"dup":                      "no-upgrade",
	"dup, late":                "no-upgrade",
	"dup, very late":           "no-upgrade",
	"loseresp":                 "no-upgrade",
	"inject":                   "clean",
	"inject always":            "captive",
	"stale":                    "no-upgrade",
	"late":                     "no-upgrade",
	"rewrite":                  "no-upgrade no-preflight",
	"reorder":                  "no-upgrade",
	"dup, with upgrades":       "clean",
	"dup, late, with upgrades": "clean",
	"reorder, with upgrades":   "clean",
	"linger":                   "clean",
	"nocontinue":               "clean",
	"strip":                    "headers-stripped",
	"replace":                  "headers-changed",
	"rechunk":                  "clean",
	"rechunk, no upgrade":      "no-upgrade",
	"delay":                    "clean",
	"delay, no upgrade":        "no-upgrade",
	"rate":                     "clean",
	"all at once, office":      "inspected headers-stripped no-upgrade body-limit cut-status",
	"all at once, mobile":      "answers-cut idle-forgotten",
}

// TestCheck holds that "bridge check", with its full waits, names what the
// middlebox does: exactly, in at least 95 of 100 networks.
func TestCheck(t *testing.T) {
	var wrong []string
	checked := 0
	for i, r := range rows {
		want, ok := profiles[r.name]
		if !ok {
			t.Errorf("%s: no profile is expected", r.name)
			continue
		}
		if !sampled(i) {
			continue
		}
		checked++
		var got string
		synctest.Test(t, func(t *testing.T) {
			report := runCheck(t, r, inBubble, nil, transporttest.Pipes(t), transporttest.Pipes(t))
			if got = named(report); got != want {
				wrong = append(wrong, r.name)
				t.Logf("%s: %s, want %s\n%s", r.name, got, want, report.Text())
			}
			if works := r.fails[longpoll] == ""; report.Works != works {
				t.Errorf("%s: works: %v, want %v\n%s", r.name, report.Works, works, report.Text())
			}
		})
	}
	t.Logf("%d of %d networks named exactly", checked-len(wrong), checked)
	if 100*len(wrong) > 5*checked {
		t.Errorf("wrong: %s", strings.Join(wrong, "; "))
	}
}

// named are the profiles of a report, in the order of the table.
func named(report *netcheck.Report) string { return strings.Join(report.Profiles, " ") }

// runCheck runs a check through a network.
func runCheck(t *testing.T, r row, p pace, holds []time.Duration, entrance, front transporttest.Network) *netcheck.Report {
	f, err := middlebox.Parse(r.profile)
	if err != nil {
		t.Error(err)
		return &netcheck.Report{}
	}
	s, err := emptyStreet(r.way, middlebox.Config{Profile: p.fit(f), Seed: 1}, entrance, front)
	if err != nil {
		t.Error(err)
		return &netcheck.Report{}
	}
	report, err := probe.Run(context.Background(), s.url, probe.Config{Client: s.reach, Holds: holds})
	if err != nil {
		t.Error(err)
		return &netcheck.Report{}
	}
	s.box.Set(middlebox.Profile{})
	if err := s.close(); err != nil {
		t.Errorf("%s: %v", r.name, err)
	}
	return report
}

// TestCheck_sockets holds over real sockets, with short waits, what TestCheck
// holds in bubbles. How fast the machine is decides what else is found.
func TestCheck_sockets(t *testing.T) {
	long(t)
	t.Parallel()
	holds := []time.Duration{time.Second, 2 * time.Second, 3 * time.Second}
	var all sync.WaitGroup
	for profile, want := range map[string]string{
		"":                             "",
		"buffer noupgrade":             "no-upgrade",
		"fakeupgrade":                  "websocket-mute",
		"bufbytes=4096 getpost":        "no-preflight",
		"cut=1500ms":                   "cut-status",
		"cut=1500ms cutwith=short":     "cut-short",
		"maxbody=20000 loseresp=3":     "body-limit",
		"dup strip=Pollbridge":         "headers-stripped",
		"killafter=80000 cache":        "answers-cut",
		"inflight=1 noupgrade":         "one-at-a-time no-upgrade",
		"replace=Content-Type:text/a":  "headers-changed",
		"rewrite=503 noupgrade linger": "no-upgrade",
	} {
		all.Go(func() {
			report := runCheck(t, row{profile: profile}, inBubble, holds, transporttest.TCP(t), transporttest.TCP(t))
			for one := range strings.FieldsSeq(want) {
				if !slices.Contains(report.Profiles, one) {
					t.Errorf("%s: %v, want %s\n%s", profile, report.Profiles, one, report.Text())
				}
			}
			if works := !strings.Contains(want, "headers-changed"); report.Works != works {
				t.Errorf("%s: works: %v\n%s", profile, report.Works, report.Text())
			}
		})
	}
	all.Wait()
}
