package e2e_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// startNode has the JavaScript client chat in Node, if there is one, on one channel from
// beginning to end.
func (s *soak) startNode(t *testing.T, playing *sync.WaitGroup) {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		s.say("no node: the JavaScript client is left out")
		return
	}
	module, err := filepath.Abs("../jsclient/bundle/client.js")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("NODE_EXTRA_CA_CERTS", s.ca.root)
	in, chats := io.Pipe()
	s.node = launch(t, in, "node", "cluster/client.mjs", module, s.url()+"/bridge", "ws", "longpoll")
	chat := s.nodeChat(t)
	playing.Go(func() {
		defer chats.Close()
		for !s.left() {
			s.chatInNode(chats, chat)
			s.pause(time.Second)
		}
	})
}

// chatInNode has the client in Node make a chat, and says what it says of it.
func (s *soak) chatInNode(chats io.Writer, chat map[string]any) {
	for range 10 {
		chat["token"] = s.token("node")
		line, err := json.Marshal(chat)
		if err == nil {
			_, err = chats.Write(append(line, '\n'))
		}
		said := ""
		if err == nil {
			said, err = s.node.out.ReadString('\n')
		}
		if err == nil && said == "ok\n" {
			s.rpcs.Add(1)
			s.messages.Add(2 * streamed)
			return
		}
		if !strings.Contains(said, tokenExpired) {
			s.failed.Add(1)
			s.fail("chat in Node", errors.Join(err, errors.New(strings.TrimSpace(said))))
			return
		}
		s.expired.Add(1)
	}
}

// nodeChat is a chat as client.mjs takes it.
func (s *soak) nodeChat(t *testing.T) map[string]any {
	t.Helper()
	digits := func(m proto.Message) string {
		raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return hex.EncodeToString(raw)
	}
	var requests, replies []string
	for n := uint64(1); n <= streamed; n++ {
		request := testsvc.Request(n, streamedBytes)
		requests = append(requests, digits(request))
		replies = append(replies, digits(&echopb.Reply{Number: n, Requests: n, RequestBytes: n * streamedBytes, Payload: request.GetPayload()}))
	}
	return map[string]any{"method": echopb.Echo_Bidi_FullMethodName, "requests": requests, "replies": replies}
}
