package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/pollbridge/pollbridge/cmd/bridge/internal/adminclient"
	"github.com/pollbridge/pollbridge/cmd/bridge/internal/config"
	"github.com/pollbridge/pollbridge/internal/admin"
)

// operator has the flags of the commands that ask a bridge's admin listener.
type operator struct {
	admin, token, tokenFile string
	asJSON                  bool
}

const operatorHelp = `
The admin listener is that of --admin, or of POLLBRIDGE_ADMIN, as "bridge serve"
has it. If it has a token, --admin-token-file names the file with it, or else
POLLBRIDGE_ADMIN_TOKEN_FILE, or POLLBRIDGE_ADMIN_TOKEN has it.`

// command adds the flags to a command that runs with a client.
func (o *operator) command(command *cobra.Command, run func(context.Context, *adminclient.Client, []string, io.Writer) error) *cobra.Command {
	command.Long += operatorHelp
	flags := command.Flags()
	flags.StringVar(&o.admin, "admin", "", "`ADDR` of the admin listener: HOST:PORT, unix:PATH or a URL (env "+config.EnvName("admin")+")")
	flags.StringVar(&o.tokenFile, "admin-token-file", "", "`FILE` with the admin token (env "+config.EnvName("admin-token-file")+")")
	flags.StringVar(&o.token, "admin-token", "", "the admin `TOKEN`; others on this machine can see it here, but not in the file (env "+config.EnvName("admin-token")+")")
	command.MarkFlagsMutuallyExclusive("admin-token", "admin-token-file")
	command.RunE = func(command *cobra.Command, args []string) error {
		client, err := o.client()
		if err != nil {
			return &usageError{err}
		}
		return run(command.Context(), client, args, command.OutOrStdout())
	}
	return command
}

// json adds the flag for output in JSON.
func (o *operator) json(command *cobra.Command) *cobra.Command {
	command.Flags().BoolVar(&o.asJSON, "json", false, "print JSON")
	return command
}

// client returns a client by the flags, or else the environment.
func (o *operator) client() (*adminclient.Client, error) {
	given := func(flag, name string) string {
		if flag != "" {
			return flag
		}
		return os.Getenv(config.EnvName(name))
	}
	addr, token, file := given(o.admin, "admin"), o.token, o.tokenFile
	if addr == "" {
		return nil, errors.New("no --admin, want the address of a bridge's admin listener")
	}
	if token == "" && file == "" {
		token, file = os.Getenv(config.EnvName("admin-token")), os.Getenv(config.EnvName("admin-token-file"))
	}
	if file != "" {
		text, err := os.ReadFile(file) //nolint:gosec // the operator's own name
		if err != nil {
			return nil, fmt.Errorf("--admin-token-file: %w", err)
		}
		token = strings.TrimSpace(string(text))
	}
	client, err := adminclient.New(addr, token)
	if err != nil {
		return nil, fmt.Errorf("--admin: %w", err)
	}
	return client, nil
}

func printJSON(out io.Writer, document any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(document)
}

func newSessions() *cobra.Command {
	var o operator
	var query admin.Query
	command := &cobra.Command{
		Use:   "sessions",
		Short: "List a bridge's sessions",
		Long: `List the sessions of a running bridge: what carries each, since when, its round
trip time, bytes per second in both directions, open RPCs, bytes held for it, how
often it came back after it had lost its connection, and whose it is.
`,
		Example: `  bridge sessions --admin 127.0.0.1:9090
  bridge sessions --admin 127.0.0.1:9090 --sort buffered --limit 10
  bridge sessions --admin 127.0.0.1:9090 --filter ann --json`,
		Args: takes(),
	}
	flags := command.Flags()
	flags.StringVar(&query.Filter, "filter", "", "only those with this `TEXT` in their ID, principal, address or client")
	flags.StringVar(&query.Transport, "transport", "", "only those on this `TRANSPORT`: "+strings.Join(admin.Transports, ", "))
	flags.StringVar(&query.Sort, "sort", admin.Sorts[0], "`ORDER`: "+strings.Join(admin.Sorts, ", "))
	flags.IntVar(&query.Limit, "limit", admin.DefaultLimit, fmt.Sprintf("at most `N`, up to %d", admin.MaxLimit))
	flags.IntVar(&query.Offset, "offset", 0, "leave out the first `N`")
	// They fail only for an unknown flag.
	_ = command.RegisterFlagCompletionFunc("transport", cobra.FixedCompletions(admin.Transports, cobra.ShellCompDirectiveNoFileComp))
	_ = command.RegisterFlagCompletionFunc("sort", cobra.FixedCompletions(admin.Sorts, cobra.ShellCompDirectiveNoFileComp))
	return o.command(o.json(command), func(ctx context.Context, client *adminclient.Client, _ []string, out io.Writer) error {
		list, err := client.Sessions(ctx, query)
		if err != nil {
			return operatorError(err)
		}
		if o.asJSON {
			return printJSON(out, list)
		}
		return printSessions(out, list, query.Offset)
	})
}

func printSessions(out io.Writer, list *admin.Sessions, offset int) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SESSION\tTRANSPORT\tAGE\tRTT\tIN\tOUT\tRPCS\tBUFFERED\tRESUMES\tPRINCIPAL")
	for _, s := range list.Sessions {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s/s\t%s/s\t%d\t%s\t%d\t%s\n", s.ID, s.Transport, age(s.Opened), rtt(s.RTT),
			bytesText(s.ReceivedRate), bytesText(s.SentRate), s.RPCs, bytesText(float64(s.Buffered)), s.Resumes, s.Principal)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if shown := len(list.Sessions); shown < list.Matched || list.Matched < list.Total {
		_, err := fmt.Fprintf(out, "%d to %d of %d that match, of %d sessions\n", min(offset+1, offset+shown), offset+shown, list.Matched, list.Total)
		return err
	}
	return nil
}

func newSession() *cobra.Command {
	var o operator
	command := &cobra.Command{
		Use:   "session ID",
		Short: "Show one of a bridge's sessions",
		Long: `Show a session of a running bridge with its open RPCs, and what happened to it: when
its transport changed, when it was without a connection and for how long, what was
refused.
`,
		Example: `  bridge session --admin 127.0.0.1:9090 P8aDR2jqMtSxc6PvQVZz-A`,
		Args:    takes("ID"),
	}
	return o.command(o.json(command), func(ctx context.Context, client *adminclient.Client, args []string, out io.Writer) error {
		session, err := client.Session(ctx, args[0])
		if err != nil {
			return operatorError(err)
		}
		if o.asJSON {
			return printJSON(out, session)
		}
		return printSession(out, session)
	})
}

func printSession(out io.Writer, s *admin.SessionDetails) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(table, name+"\t"+format+"\n", args...) }
	row("session", "%s", s.ID)
	row("principal", "%s", s.Principal)
	row("opened", "%s, %s ago, from %s, by %s", s.Opened.Format(time.RFC3339), age(s.Opened), s.Remote, s.Client)
	row("transport", "%s, %d links, lives %s without one", s.Transport, s.Links, seconds(s.Window))
	if s.Away > 0 {
		row("away", "%s", seconds(s.Away))
	}
	row("round trip", "%s", rtt(s.RTT))
	row("in", "%s, %s/s", bytesText(float64(s.ReceivedBytes)), bytesText(s.ReceivedRate))
	row("out", "%s, %s/s", bytesText(float64(s.SentBytes)), bytesText(s.SentRate))
	row("buffered", "%s", bytesText(float64(s.Buffered)))
	row("resumes", "%d", s.Resumes)
	row("RPCs", "%d open, %d in all", s.RPCs, s.RPCsOpened)
	for _, rpc := range s.Open {
		row("", "%d  %s  %s", rpc.Stream, age(rpc.Began), rpc.Method)
	}
	for _, e := range s.Events {
		row(e.At.Local().Format(time.TimeOnly), "%s", strings.TrimSuffix(e.What+": "+e.Detail, ": "))
	}
	return table.Flush()
}

func newKick() *cobra.Command {
	var o operator
	command := &cobra.Command{
		Use:   "kick ID...",
		Short: "Disconnect sessions of a bridge",
		Long: `End sessions of a running bridge. Their open RPCs end with UNAVAILABLE; their clients
open a new session with their next RPC, unless authentication refuses them by then.
`,
		Example: `  bridge kick --admin 127.0.0.1:9090 P8aDR2jqMtSxc6PvQVZz-A`,
		Args:    takes("ID..."),
	}
	return o.command(command, func(ctx context.Context, client *adminclient.Client, args []string, out io.Writer) error {
		var errs []error
		for _, id := range args {
			if err := client.Disconnect(ctx, id); err != nil {
				errs = append(errs, operatorError(err))
				continue
			}
			fmt.Fprintln(out, "disconnected", id)
		}
		return errors.Join(errs...)
	})
}

func newDrain() *cobra.Command {
	var o operator
	var wait bool
	command := &cobra.Command{
		Use:   "drain",
		Short: "Drain a bridge, as SIGTERM does",
		Long: `Have a running bridge drain, and then end, as SIGTERM does: /readyz turns 503,
clients are told to open new RPCs elsewhere, and open RPCs may continue for its
--drain-timeout. With --wait the command ends when the bridge has.
`,
		Example: `  bridge drain --admin 127.0.0.1:9090 --wait`,
		Args:    takes(),
	}
	command.Flags().BoolVar(&wait, "wait", false, "wait until the bridge has ended")
	return o.command(command, func(ctx context.Context, client *adminclient.Client, _ []string, out io.Writer) error {
		before, err := client.Overview(ctx)
		if err == nil {
			err = client.Drain(ctx)
		}
		if err != nil {
			return operatorError(err)
		}
		fmt.Fprintf(out, "draining, with %d sessions and %d RPCs open\n", before.Sessions.Value, before.RPCs.Value)
		if wait {
			awaitEnd(ctx, client)
		}
		return nil
	})
}

// awaitEnd waits until nobody answers.
func awaitEnd(ctx context.Context, client *adminclient.Client) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := client.Overview(ctx); err != nil {
			return
		}
		<-tick.C
	}
}

// operatorError says which flag is missing where the listener wants a token.
func operatorError(err error) error {
	if refused, ok := errors.AsType[*adminclient.Error](err); ok && refused.Status == 401 {
		return fmt.Errorf("%w; give --admin-token-file", err)
	}
	return err
}

func age(since time.Time) string { return roundDuration(time.Since(since)) }

func seconds(s float64) string { return roundDuration(time.Duration(s * float64(time.Second))) }

// roundDuration is short: two units at most.
func roundDuration(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%.0fs", d.Seconds())
}

func rtt(s float64) string {
	if s == 0 {
		return "-"
	}
	return fmt.Sprintf("%.3gms", s*1000)
}

func bytesText(n float64) string {
	for _, unit := range []string{"B", "KiB", "MiB", "GiB"} {
		if n < 1024 {
			return fmt.Sprintf("%.3g%s", n, unit)
		}
		n /= 1024
	}
	return fmt.Sprintf("%.3gTiB", n)
}
