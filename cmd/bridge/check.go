package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/pollbridge/pollbridge/internal/netcheck"
	"github.com/pollbridge/pollbridge/internal/netcheck/probe"
)

// quickHolds are the waits of a check that has little time.
var quickHolds = []time.Duration{2 * time.Second, 5 * time.Second}

func newCheck() *cobra.Command {
	var reach reach
	var asJSON, quick, justPing bool
	var holds []time.Duration
	command := &cobra.Command{
		Use:   "check URL",
		Short: "Find out what the network does on the way to a bridge",
		Long: `Find out what the network between here and the bridge at URL does to requests
and WebSockets, and what follows from it; then make RPCs of all four kinds on
each transport. A URL without a path means the prefix /bridge. Forward proxies
are used as a browser uses them. It takes a good minute, or a quarter of one with
--quick.

The bridge must have been started with --check (the demo is). Where it was not,
only sessions are opened. The page PREFIX/check of such a bridge looks at more:
answers held back, replaced, late or cached, and requests repeated or reordered.

The exit code is 0 if long-polling works, which carries every kind of RPC, and 1
if not.

With --ping only one session is opened, within 5 seconds, on whatever transport
works: for the health check of a container, whose image need not have curl.`,
		Example: `  bridge check https://example.com
  bridge check http://localhost:8080/bridge --json
  bridge check http://127.0.0.1:8080 --ping
  HTTPS_PROXY=http://proxy.example.com:3128 bridge check https://example.com`,
		Args: takes("URL"),
		RunE: func(command *cobra.Command, args []string) error {
			cfg, err := reach.config()
			if err != nil {
				return err
			}
			if justPing {
				return ping(command.Context(), command.OutOrStdout(), args[0], cfg)
			}
			if quick {
				holds = quickHolds
			}
			out := command.OutOrStdout()
			check := probe.Config{Client: cfg, Holds: holds}
			if !asJSON {
				style := styleOf(out)
				check.OnRow = func(row netcheck.Row) { fmt.Fprint(out, style.row(row)) }
			}
			report, err := probe.Run(command.Context(), args[0], check)
			if err != nil {
				return &usageError{err}
			}
			return printReport(out, report, asJSON)
		},
	}
	flags := command.Flags()
	flags.BoolVar(&asJSON, "json", false, "print JSON, at the end")
	flags.BoolVar(&justPing, "ping", false, "only see whether a session opens")
	flags.BoolVar(&quick, "quick", false, "wait for 5 seconds at most")
	flags.DurationSliceVar(&holds, "hold", nil, "waits to try, ascending, as `10s,25s` (default 10s,25s,40s,55s)")
	flags.Lookup("hold").DefValue = "" // the help says what none means
	command.MarkFlagsMutuallyExclusive("quick", "hold", "ping")
	command.MarkFlagsMutuallyExclusive("json", "ping")
	reach.addFlags(flags)
	return command
}

// printReport prints what is left to be said after the rows. It returns
// errSaid where long-polling does not work.
func printReport(out io.Writer, report *netcheck.Report, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(report); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(out, "\n%s\n", report.Head())
	}
	if !report.Works {
		return errSaid
	}
	return nil
}

// style colours levels, on terminals only.
type style bool

func styleOf(out io.Writer) style {
	file, ok := out.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || slices.Contains([]string{"", "dumb"}, os.Getenv("TERM")) {
		return false
	}
	info, err := file.Stat()
	return style(err == nil && info.Mode()&os.ModeCharDevice != 0)
}

var colours = map[string]string{"good": "32", "warn": "33", "bad": "31"}

func (s style) row(row netcheck.Row) string {
	text, colour := row.Text(), colours[string(row.Level)]
	if !s || colour == "" {
		return text
	}
	mark := row.Level.Mark()
	return fmt.Sprintf("\x1b[%sm%s\x1b[0m%s", colour, mark, text[len(mark):])
}
