package demo_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/pollbridge/pollbridge/internal/demo/demopb"
)

type chatClient = grpc.BidiStreamingClient[demopb.ChatRequest, demopb.ChatEvent]

func join(t *testing.T, ctx context.Context, client demopb.DemoClient, room, name string) chatClient {
	t.Helper()
	stream, err := client.Chat(ctx)
	if err != nil {
		t.Fatal(err)
	}
	send(t, stream, &demopb.ChatRequest{Kind: &demopb.ChatRequest_Join_{Join: &demopb.ChatRequest_Join{Room: room, Name: name}}})
	return stream
}

func say(t *testing.T, stream chatClient, text string) {
	t.Helper()
	send(t, stream, &demopb.ChatRequest{Kind: &demopb.ChatRequest_Say{Say: text}})
}

func send(t *testing.T, stream chatClient, in *demopb.ChatRequest) {
	t.Helper()
	if err := stream.Send(in); err != nil {
		t.Fatal(err)
	}
}

// wantEvent reads one event and compares it with its short form, "KIND name
// text [members]".
func wantEvent(t *testing.T, stream chatClient, want string) {
	t.Helper()
	event, err := stream.Recv()
	if err != nil {
		t.Fatalf("got %v, want event %q", err, want)
	}
	kind := strings.TrimPrefix(event.GetKind().String(), "KIND_")
	if got := fmt.Sprintf("%s %s %s %q", kind, event.GetName(), event.GetText(), event.GetMembers()); got != want {
		t.Errorf("got event %s, want %s", got, want)
	}
	if event.GetTimeMs() == 0 {
		t.Error("event has no time")
	}
}

func TestChat_twoMembersSeeEachOther(t *testing.T) {
	inBubble(t, func(t *testing.T, client demopb.DemoClient) {
		ada := join(t, t.Context(), client, "lobby", "Ada")
		wantEvent(t, ada, `WELCOME Ada  ["Ada"]`)
		bob := join(t, t.Context(), client, "lobby", "Bob")
		wantEvent(t, bob, `WELCOME Bob  ["Ada" "Bob"]`)
		wantEvent(t, ada, `JOINED Bob  ["Ada" "Bob"]`)
		say(t, ada, "hello")
		wantEvent(t, ada, `SAID Ada hello []`)
		wantEvent(t, bob, `SAID Ada hello []`)
		if err := ada.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if _, err := ada.Recv(); !errors.Is(err, io.EOF) {
			t.Errorf("got %v, want EOF", err)
		}
		wantEvent(t, bob, `LEFT Ada  ["Bob"]`)
	})
}

func TestChat_roomsAreApart(t *testing.T) {
	inBubble(t, func(t *testing.T, client demopb.DemoClient) {
		ada := join(t, t.Context(), client, "one", "Ada")
		wantEvent(t, ada, `WELCOME Ada  ["Ada"]`)
		bob := join(t, t.Context(), client, "two", "Bob")
		wantEvent(t, bob, `WELCOME Bob  ["Bob"]`)
		say(t, ada, "heard in one")
		say(t, bob, "heard in two")
		wantEvent(t, ada, `SAID Ada heard in one []`)
		wantEvent(t, bob, `SAID Bob heard in two []`)
	})
}

func TestChat_takenNameGetsANumber(t *testing.T) {
	inBubble(t, func(t *testing.T, client demopb.DemoClient) {
		for _, want := range []string{
			`WELCOME Ada  ["Ada"]`,
			`WELCOME Ada 2  ["Ada" "Ada 2"]`,
			`WELCOME Ada 3  ["Ada" "Ada 2" "Ada 3"]`,
		} {
			wantEvent(t, join(t, t.Context(), client, "lobby", "Ada"), want)
		}
	})
}

func TestChat_cancelLeaves(t *testing.T) {
	inBubble(t, func(t *testing.T, client demopb.DemoClient) {
		ada := join(t, t.Context(), client, "lobby", "Ada")
		wantEvent(t, ada, `WELCOME Ada  ["Ada"]`)
		ctx, cancel := context.WithCancel(t.Context())
		wantEvent(t, join(t, ctx, client, "lobby", "Bob"), `WELCOME Bob  ["Ada" "Bob"]`)
		cancel()
		wantEvent(t, ada, `JOINED Bob  ["Ada" "Bob"]`)
		wantEvent(t, ada, `LEFT Bob  ["Ada"]`)
	})
}

func TestChat_refuses(t *testing.T) {
	long := strings.Repeat("x", 1_001)
	joinAs := func(room, name string) *demopb.ChatRequest {
		return &demopb.ChatRequest{Kind: &demopb.ChatRequest_Join_{Join: &demopb.ChatRequest_Join{Room: room, Name: name}}}
	}
	sayIt := func(text string) *demopb.ChatRequest {
		return &demopb.ChatRequest{Kind: &demopb.ChatRequest_Say{Say: text}}
	}
	for _, test := range []struct {
		name    string
		in      []*demopb.ChatRequest
		message string
	}{
		{"nothing", nil, "join: the first message must join a room, there was none"},
		{"say before join", []*demopb.ChatRequest{sayIt("hi")}, "join: the first message must join a room"},
		{"no room", []*demopb.ChatRequest{joinAs("", "Ada")}, "join.room length: 0 is not in 1 to 40"},
		{"long room", []*demopb.ChatRequest{joinAs(long, "Ada")}, "join.room length: 1001 is not in 1 to 40"},
		{"no name", []*demopb.ChatRequest{joinAs("lobby", "")}, "join.name length: 0 is not in 1 to 40"},
		{"join twice", []*demopb.ChatRequest{joinAs("lobby", "Ada"), joinAs("lobby", "Ada")}, `join: already in room "lobby"`},
		{"say nothing", []*demopb.ChatRequest{joinAs("lobby", "Ada"), sayIt("")}, "say length: 0 is not in 1 to 1000"},
		{"say too much", []*demopb.ChatRequest{joinAs("lobby", "Ada"), sayIt(long)}, "say length: 1001 is not in 1 to 1000"},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, client demopb.DemoClient) {
				stream, err := client.Chat(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for _, in := range test.in {
					send(t, stream, in)
				}
				if err := stream.CloseSend(); err != nil {
					t.Fatal(err)
				}
				wantStatus(t, drain(stream), codes.InvalidArgument, test.message)
			})
		})
	}
}

func TestChat_fullRoomRefuses(t *testing.T) {
	inBubble(t, func(t *testing.T, client demopb.DemoClient) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for range 100 {
			if _, err := join(t, ctx, client, "lobby", "Ada").Recv(); err != nil {
				t.Fatal(err)
			}
		}
		err := drain(join(t, ctx, client, "lobby", "Eve"))
		wantStatus(t, err, codes.ResourceExhausted, `join.room: "lobby" has 100 members already, which is the limit`)
	})
}

func TestChat_slowReaderIsDropped(t *testing.T) {
	inBubble(t, func(t *testing.T, client demopb.DemoClient) {
		slow := join(t, t.Context(), client, "lobby", "slow")
		wantEvent(t, slow, `WELCOME slow  ["slow"]`)
		fast := join(t, t.Context(), client, "lobby", "fast")
		wantEvent(t, fast, `WELCOME fast  ["slow" "fast"]`)
		text := strings.Repeat("x", 1_000)
		var left *demopb.ChatEvent
		for left == nil {
			say(t, fast, text)
			synctest.Wait() // so that the queue of the fast member is empty again
			event, err := fast.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if event.GetKind() == demopb.ChatEvent_KIND_LEFT {
				left = event
			}
		}
		if left.GetName() != "slow" || !slices.Equal(left.GetMembers(), []string{"fast"}) {
			t.Errorf("got %v, want slow to have left", left)
		}
		wantStatus(t, drain(slow), codes.ResourceExhausted, `dropped from room "lobby": 64 events behind, which is the limit`)
	})
}

// drain reads a stream to its end and returns its error.
func drain(stream chatClient) error {
	for {
		if _, err := stream.Recv(); err != nil {
			return err
		}
	}
}
