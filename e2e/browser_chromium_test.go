package e2e_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"
)

var withBrowser = flag.Bool("browser", false, "run the tests that need Chromium too, as ./test.sh browser and ./test.sh proxies do")

// visit is what a page of Chromium is to do: jsclient/test/driver/main.ts says
// what the fields mean.
type visit struct {
	ID      int    `json:"id"`
	What    string `json:"what"`
	URL     string `json:"url"`
	Proxy   string `json:"proxy"`
	Limit   int64  `json:"limit"`
	Carried string `json:"carried"`
	Stays   int64  `json:"stays"`
	Cut     bool   `json:"cut"`
	Page    string `json:"page"`
	Step    int64  `json:"step"`
	Waves   int    `json:"waves"`

	quiet func() // called when the page has nothing left to do but stay
}

// visitLimit ends a visit that hangs.
const visitLimit = 5 * time.Minute

// seen is a report on a visit: the page is quiet, or how the visit ended.
type seen struct {
	ID     int             `json:"id"`
	Quiet  bool            `json:"quiet"`
	Result json.RawMessage `json:"result"`
	Error  string          `json:"error"`
}

// chromium is a browser whose pages a script of the JavaScript client drives.
// Its methods may be called by several goroutines at once.
type chromium struct {
	mu      sync.Mutex
	in      *json.Encoder
	waiting []chan seen // by visit.ID
}

// startChromium starts one. It ends with the test.
func startChromium(t *testing.T) *chromium {
	if !*withBrowser {
		t.Skip("drives Chromium: -browser runs it")
	}
	cmd := exec.Command("node", ".test/test/driver/main.js") // t.Context ends before its visits are over
	cmd.Dir = "../jsclient"
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v; `npm ci && npm run compile` in jsclient makes what this test drives the browser with", err)
	}
	c := &chromium{in: json.NewEncoder(in)}
	var reading sync.WaitGroup
	reading.Go(func() { c.read(out) })
	t.Cleanup(func() {
		in.Close()
		reading.Wait()
		check(t, cmd.Wait())
	})
	return c
}

// read hands answers to those who wait for them.
func (c *chromium) read(out io.Reader) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var answer seen
		if err := json.Unmarshal(lines.Bytes(), &answer); err != nil {
			answer.Error = err.Error()
		}
		c.mu.Lock()
		waits := c.waiting[answer.ID]
		c.mu.Unlock()
		waits <- answer
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, waits := range c.waiting {
		close(waits)
	}
	c.waiting = nil
}

// visit makes one visit and stores its result in what result points to.
func (c *chromium) visit(v visit, result any) error {
	answer := make(chan seen, 2)
	c.mu.Lock()
	v.ID, v.Limit = len(c.waiting), visitLimit.Milliseconds()
	c.waiting = append(c.waiting, answer)
	err := c.in.Encode(v)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	got, ok := <-answer
	if got.Quiet {
		v.quiet()
		got, ok = <-answer
	}
	if !ok {
		return errors.New("the script that drives Chromium has ended")
	}
	if got.Error != "" {
		return fmt.Errorf("%s", got.Error)
	}
	return json.Unmarshal(got.Result, result)
}
