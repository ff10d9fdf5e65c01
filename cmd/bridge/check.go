package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/pollbridge/pollbridge/client"
)

func newCheck() *cobra.Command {
	var reach reach
	var asJSON bool
	command := &cobra.Command{
		Use:   "check URL",
		Short: "Ask what the network lets through to a bridge",
		Long: `Ask what the network between here and the bridge at URL lets through: open a
session over each transport, and have a probe of 4 KiB echoed. A URL without a
path means the prefix /bridge. Forward proxies are used as a browser uses them.

The exit code is 0 if long-polling works, with which every kind of RPC works,
and 1 if not.`,
		Example: `  bridge check https://example.com
  bridge check http://localhost:8080/bridge --json
  HTTPS_PROXY=http://proxy.example.com:3128 bridge check https://example.com`,
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			cfg, err := reach.config()
			if err != nil {
				return err
			}
			report, err := client.Check(command.Context(), args[0], cfg)
			if err != nil {
				return &usageError{err}
			}
			return newCheckResult(report, cfg).print(command.OutOrStdout(), asJSON)
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	reach.addFlags(command.Flags())
	return command
}

// checkResult is what "bridge check --json" prints.
type checkResult struct {
	URL        string           `json:"url"`
	Proxy      string           `json:"proxy,omitempty"` // without credentials
	Bridge     *checkBridge     `json:"bridge,omitempty"`
	Transports []checkTransport `json:"transports"`
	Works      bool             `json:"works"` // over long-polling
	Verdict    string           `json:"verdict"`
}

// checkBridge is what the bridge says of itself.
type checkBridge struct {
	Release         string  `json:"release"`
	Protocol        uint32  `json:"protocol"`
	HoldSeconds     float64 `json:"hold_seconds"`
	ResumeSeconds   float64 `json:"resume_seconds"`
	MaxMessageBytes uint64  `json:"max_message_bytes"`
}

// checkTransport is how a transport fared.
type checkTransport struct {
	Transport    string  `json:"transport"`
	Works        bool    `json:"works"`
	HTTP         string  `json:"http,omitempty"` // version of the last answer
	Status       int     `json:"status,omitempty"`
	Ours         bool    `json:"ours"` // the last answer bears the bridge's mark
	OpenedMillis float64 `json:"opened_ms,omitempty"`
	RTTMillis    float64 `json:"rtt_ms,omitempty"`
	Error        string  `json:"error,omitempty"`
}

func newCheckResult(report *client.Report, cfg client.Config) *checkResult {
	r := &checkResult{URL: report.URL, Proxy: proxyOf(report.URL, cfg)}
	if w := report.Welcome; w != nil {
		r.Bridge = &checkBridge{w.Release, w.Protocol, w.Hold.Seconds(), w.ResumeWindow.Seconds(), w.MaxMessage}
	}
	works := map[string]bool{}
	for _, f := range report.Transports {
		works[f.Transport] = f.Err == nil
		r.Transports = append(r.Transports, newCheckTransport(f))
	}
	r.Works = works["longpoll"]
	switch {
	case works["longpoll"] && works["ws"]:
		r.Verdict = "Works, over WebSocket and long-polling."
	case works["longpoll"]:
		r.Verdict = "Works, over long-polling; WebSocket does not get through, and is not needed."
	case works["ws"]:
		r.Verdict = "Works over WebSocket only: plain requests do not get through, which long-polling needs."
	default:
		r.Verdict = "Does not work: no session could be opened."
	}
	return r
}

func newCheckTransport(f client.Finding) checkTransport {
	t := checkTransport{
		Transport: f.Transport, Works: f.Err == nil, HTTP: f.Proto, Status: f.Status, Ours: f.Ours,
		OpenedMillis: millis(f.Opened), RTTMillis: millis(f.RTT),
	}
	if f.Err != nil {
		t.Error = strings.TrimPrefix(f.Err.Error(), "client: ")
	}
	// What the bridge itself says in words is clearer than what it looks like.
	if answer, ok := errors.AsType[*client.AnswerError](f.Err); ok && f.Ours {
		t.Error = "refused by the bridge: " + strings.TrimSpace(string(answer.Body))
	}
	return t
}

func millis(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}

// proxyOf is the forward proxy on the way to url, without credentials.
func proxyOf(url string, cfg client.Config) string {
	req, err := http.NewRequest(http.MethodPost, url, nil)
	if err != nil {
		return ""
	}
	proxy, err := cfg.Proxy(req)
	if err != nil || proxy == nil {
		return ""
	}
	return proxy.Redacted()
}

// print returns errSaid where long-polling does not work.
func (r *checkResult) print(out io.Writer, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(r); err != nil {
			return err
		}
	} else {
		r.printTable(out)
	}
	if !r.Works {
		return errSaid
	}
	return nil
}

func (r *checkResult) printTable(out io.Writer) {
	fmt.Fprintf(out, "bridge  %s\n", r.URL)
	if r.Proxy != "" {
		fmt.Fprintf(out, "proxy   %s\n", r.Proxy)
	}
	if b := r.Bridge; b != nil {
		fmt.Fprintf(out, "is      %s, protocol %d; holds polls for %v s, keeps sessions for %v s, takes messages to %d bytes\n",
			b.Release, b.Protocol, b.HoldSeconds, b.ResumeSeconds, b.MaxMessageBytes)
	}
	fmt.Fprintln(out)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "TRANSPORT\tWORKS\tHTTP\tSTATUS\tOURS\tOPENED\tROUND TRIP\t")
	for _, t := range r.Transports {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", t.Transport, yesNo(t.Works), orDash(strings.TrimPrefix(t.HTTP, "HTTP/")),
			orDash(strconv.Itoa(t.Status)), yesNo(t.Ours), inMillis(t.OpenedMillis), inMillis(t.RTTMillis))
	}
	table.Flush()
	for _, t := range r.Transports {
		if t.Error != "" {
			fmt.Fprintf(out, "\n%s: %s\n", t.Transport, t.Error)
		}
	}
	fmt.Fprintf(out, "\n%s\n", r.Verdict)
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

func orDash(text string) string {
	if text == "" || text == "0" {
		return "-"
	}
	return text
}

func inMillis(ms float64) string {
	if ms == 0 {
		return "-"
	}
	return strconv.FormatFloat(ms, 'f', 1, 64) + " ms"
}
