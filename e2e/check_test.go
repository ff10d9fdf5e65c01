package e2e_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/middlebox"
	"github.com/pollbridge/pollbridge/transport/transporttest"
)

// profiles are what the network check is to find in each network of the
// matrix. Clean are those whose behaviour has no effect within a check: nobody
// asks for 100-continue, pieces of other lengths carry the same bytes, and
// copies that come after three minutes come after the check.
var profiles = map[string]string{
	"clean":                    "clean",
	"clean forward":            "clean",
	"clean tunnel":             "clean",
	"inspected":                "inspected",
	"buffer":                   "buffered",
	"buffer, no upgrade":       "inspected no-upgrade buffered",
	"bufbytes":                 "buffered-threshold",
	"onebehind":                "one-behind",
	"gzip":                     "compressed",
	"http10":                   "http10",
	"http10, broken":           "http10 no-upgrade answers-cut",
	"cache":                    "cache",
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
	"dup":                      "no-upgrade copies",
	"dup, late":                "no-upgrade copies-late",
	"dup, very late":           "no-upgrade",
	"loseresp":                 "no-upgrade answers-lost",
	"inject":                   "pages-injected",
	"inject always":            "captive",
	"stale":                    "no-upgrade buffered stale",
	"late":                     "no-upgrade late",
	"rewrite":                  "no-upgrade errors-rewritten no-preflight",
	"reorder":                  "no-upgrade reorder",
	"dup, with upgrades":       "copies",
	"dup, late, with upgrades": "copies-late",
	"reorder, with upgrades":   "reorder",
	"linger":                   "linger",
	"nocontinue":               "clean",
	"strip":                    "headers-stripped",
	"replace":                  "headers-changed",
	"rechunk":                  "clean",
	"rechunk, no upgrade":      "no-upgrade",
	"delay":                    "far",
	"delay, no upgrade":        "no-upgrade far",
	"rate":                     "narrow",
	"all at once, office":      "inspected headers-stripped no-upgrade buffered answers-lost body-limit cut-status",
	"all at once, mobile":      "answers-cut idle-forgotten copies-late far",
}

// TestCheck holds that the network check, with its full waits, names what the
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
			report := runCheck(t, r, inBubble, client.CheckConfig{}, transporttest.Pipes(t), transporttest.Pipes(t))
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
func named(report *client.CheckReport) string { return strings.Join(report.Profiles, " ") }

// runCheck runs a check through a network.
func runCheck(t *testing.T, r row, p pace, cfg client.CheckConfig, entrance, front transporttest.Network) *client.CheckReport {
	f, err := middlebox.Parse(r.profile)
	if err != nil {
		t.Error(err)
		return &client.CheckReport{}
	}
	s, err := emptyStreet(r.way, middlebox.Config{Profile: p.fit(f), Seed: 1}, entrance, front)
	if err != nil {
		t.Error(err)
		return &client.CheckReport{}
	}
	cfg.Config = s.reach
	report, err := client.Check(context.Background(), s.url, cfg)
	if err != nil {
		t.Error(err)
		return &client.CheckReport{}
	}
	s.box.Set(middlebox.Profile{})
	if err := s.close(); err != nil {
		t.Errorf("%s: %v", r.name, err)
	}
	return report
}

// TestCheck_sockets holds over real sockets, with short waits, that the bubbles
// tell the truth. How fast the machine is decides what else is found.
func TestCheck_sockets(t *testing.T) {
	t.Parallel()
	holds := []time.Duration{time.Second, 2 * time.Second, 3 * time.Second}
	var all sync.WaitGroup
	for profile, want := range map[string]string{
		"":                             "",
		"buffer noupgrade":             "buffered no-upgrade",
		"fakeupgrade":                  "websocket-mute",
		"bufbytes=4096 getpost":        "buffered-threshold no-preflight",
		"cut=1500ms":                   "cut-status",
		"cut=1500ms cutwith=short":     "cut-short",
		"maxbody=20000 loseresp=3":     "body-limit answers-lost",
		"dup strip=Pollbridge":         "copies headers-stripped",
		"killafter=80000 cache":        "answers-cut cache",
		"inject=3":                     "pages-injected",
		"replace=Content-Type:text/a":  "headers-changed",
		"rewrite=503 noupgrade linger": "errors-rewritten no-upgrade linger",
	} {
		all.Go(func() {
			report := runCheck(t, row{profile: profile}, inBubble, client.CheckConfig{Holds: holds}, transporttest.TCP(t), transporttest.TCP(t))
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
